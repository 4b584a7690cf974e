"""Refused gRPC clients: what an operator sees of them."""

import aiohttp
import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from ratelimitd.app.refusals import REMEDY, REPEAT, Refusals
from ratelimitd.observe.metrics import family_text
from ratelimitd.transport import Refusal
from tests.service import service
from tests.transport.servers import Certificates


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
