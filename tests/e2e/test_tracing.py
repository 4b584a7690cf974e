"""One trace through a real Envoy and the service, at one real collector."""

import aiohttp
import pytest

from testkit.collector import collector
from testkit.envoy import bootstrap, cluster, envoy, header, route, upstream
from tests.service import service

pytestmark = [pytest.mark.envoy, pytest.mark.process]

POLICY = "domain: demo\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 1}}]\n"
TRACER = {
    "provider": {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}, "timeout": "2s"},
            "service_name": "envoy",
        },
    }
}


def traced(config, address):
    """The configuration with Envoy's own tracer."""
    (listener,) = config["static_resources"]["listeners"]
    listener["filter_chains"][0]["filters"][0]["typed_config"]["tracing"] = TRACER
    config["static_resources"]["clusters"].append(cluster("collector", [address], http2=True))
    return config


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
async def test_envoy_and_the_service_make_one_trace(tmp_path, transport):
    """Envoy begins it and asks the service, whose span is below Envoy's; a denial is seen in the trace."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with collector("grpc") as received:
        env = {
            "TRANSPORT": transport,
            "TRACING_ENABLED": "true",
            "TRACING_EXPORTER_PROTOCOL": "grpc",
            "TRACING_SAMPLING_RATE": "0",  # Envoy decides
            "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
        }
        async with (
            upstream() as up,
            service("--config", str(tmp_path / "policy.yaml"), env=env) as running,
            envoy(
                traced(
                    bootstrap([running.grpc], up, [route("/", [header("x-user", "user")])]),
                    received.endpoint.removeprefix("http://"),
                ),
                tmp_path,
            ) as front,
            aiohttp.ClientSession(front.url) as client,
        ):
            for wanted in (200, 429):
                async with client.get("/", headers={"x-user": "canary"}) as answer:
                    assert answer.status == wanted
            ours = await received.has(2, "RateLimitService/ShouldRateLimit")
            parents = {span.span_id: await received.of(span.parent_id) for span in ours}
    assert [span.attributes["ratelimitd.decision"] for span in ours] == ["ok", "over_limit"]
    for span in ours:
        parent = parents[span.span_id]
        assert (parent.trace_id, parent.resource["service.name"]) == (span.trace_id, "envoy")
        assert parent.began <= span.began <= span.ended
    assert "canary" not in str([span.attributes for span in ours])
