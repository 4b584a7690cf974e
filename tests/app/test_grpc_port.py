"""The gRPC port of a service: what an operator sees of refused clients, and compressed calls of every method."""

import aiohttp
import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from ratelimitd.app.refusals import REMEDY, REPEAT, Refusals
from ratelimitd.client import METHOD
from ratelimitd.observe.metrics import family_text
from ratelimitd.proto import message
from ratelimitd.transport import Refusal
from tests.service import service
from tests.transport.servers import Certificates

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")


def test_each_is_counted_and_a_minute_has_one_warning():
    """The warning of a reason comes at once, then at most each minute with the number since the last one."""
    now = [0.0]
    refusals = Refusals("edge.mesh", lambda: now[0])
    with capture_logs() as logs:
        for second in (0.0, 1.0, REPEAT - 1, REPEAT, REPEAT + 1):
            now[0] = second
            refusals(Refusal.CERTIFICATE_NAME, "10.0.0.1:5", "other.mesh")
        refusals(Refusal.HANDSHAKE, "", "WRONG_VERSION_NUMBER")
    assert [(line["reason"], line["peer"], line["found"], line["since_last_warning"]) for line in logs] == [
        ("certificate_name", "10.0.0.1:5", "other.mesh", 1),
        ("certificate_name", "10.0.0.1:5", "other.mesh", 3),
        ("handshake", "unknown", "WRONG_VERSION_NUMBER", 1),
    ]
    assert "edge.mesh" in logs[0]["change"]
    text = family_text(refusals.family())
    assert 'ratelimitd_grpc_refused_total{reason="certificate_name"} 5' in text
    assert 'ratelimitd_grpc_refused_total{reason="connections"} 0' in text


def test_every_reason_says_what_to_change():
    """No reason is told without a remedy."""
    assert REMEDY.keys() == set(Refusal)


@pytest.mark.process
@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
async def test_a_service_says_whom_it_refuses(tmp_path, transport):
    """A certificate of another name: one warning with the address, the name and what to set, and the metric."""
    certificates = Certificates(tmp_path)
    policy = tmp_path / "policy.yaml"
    policy.write_text("domain: d\ndescriptors: []\n")
    env = {
        "TRANSPORT": transport,
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": certificates.cert,
        "GRPC_SERVER_TLS_KEY": certificates.key,
        "GRPC_CLIENT_TLS_CACERT": certificates.client_ca,
        "GRPC_CLIENT_TLS_SAN": "envoy.mesh",
    }
    credentials = grpc.ssl_channel_credentials(certificates.root, *certificates.client("other.mesh"))
    async with service("--config", str(policy), env=env) as running:
        port = running.grpc.rpartition(":")[2]
        async with aio.secure_channel(f"localhost:{port}", credentials) as channel:
            with pytest.raises(aio.AioRpcError):
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        line = await running.logged("a gRPC client was refused")
        assert (line["level"], line["reason"], line["found"]) == ("warning", "certificate_name", "other.mesh")
        assert "GRPC_CLIENT_TLS_SAN" in line["change"]
        async with aiohttp.request("GET", f"http://{running.http}/metrics") as scraped:
            metrics = await scraped.text()
        assert 'ratelimitd_grpc_refused_total{reason="certificate_name"} 0' not in metrics


@pytest.mark.process
async def test_reflection_can_be_turned_off():
    """GRPC_REFLECTION=false: reflection is UNIMPLEMENTED, and health is served."""
    async with service(env={"GRPC_REFLECTION": "false"}) as running, aio.insecure_channel(running.grpc) as channel:
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        # Nothing is sent: the client reports INTERNAL if it still writes when the answer comes.
        assert await reflect().code() is grpc.StatusCode.UNIMPLEMENTED
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())


@pytest.mark.process
async def test_every_method_takes_compressed_calls(tmp_path):
    """ShouldRateLimit, health and reflection of the fast transport, from a client that compresses all it sends."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("domain: d\ndescriptors: [{key: k, rate_limit: {unit: hour, requests_per_unit: 1}}]\n")
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="k", value="v" * 1000)
    options = [("grpc.default_compression_algorithm", grpc.Compression.Gzip)]
    async with service("--config", str(policy)) as running, aio.insecure_channel(running.grpc, options) as channel:
        ask = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        assert [(await ask(request)).overall_code for _ in range(2)] == [Response.OK, Response.OVER_LIMIT]
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest(service="ratelimit"))).status
        watch = health.Watch(health_pb2.HealthCheckRequest(service="ratelimit"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health")
        answers = [each async for each in reflect(iter([symbol]))]
        assert answers[0].file_descriptor_response.file_descriptor_proto
