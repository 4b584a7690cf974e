"""``doctor`` beside a running service: limits that refused what may have been spent."""

import pytest
from grpc import aio

from ratelimitd.client import METHOD
from ratelimitd.doctor import forgotten
from ratelimitd.doctor.finding import Level
from ratelimitd.proto import message
from tests.doctor.doctoring import case, looked, only
from tests.service import service

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
POLICY = """domain: d
descriptors: [{key: k, rate_limits: [{unit: day, requests_per_unit: 50, algorithm: gcra, name: daily}]}]
"""


@pytest.mark.process
async def test_forgotten_costs_of_a_running_service(tmp_path):
    """Each limit with its hits, and the key to write; nothing before, and nothing where no service runs."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with service("--config", str(tmp_path)) as running, aio.insecure_channel(running.grpc) as channel:
        ask = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        host, _, port = running.http.rpartition(":")
        at = case(str(tmp_path), HOST=host, PORT=port)
        assert await looked(forgotten.check, at) == []
        for hits in (50, 7):
            request = Request(domain="d")
            descriptor = request.descriptors.add()
            descriptor.entries.add(key="k", value="v")
            descriptor.hits_addend.value = hits
            await ask(request)
        told = only(await looked(forgotten.check, at), "the limit d.k.limit_daily has refused 7 hits", Level.WARN)
        assert "charge: after" in told.change
        assert await looked(forgotten.check, case(str(tmp_path), PORT=port, DISABLE_STATS="true")) == []
    assert await looked(forgotten.check, at) == []
