"""A process that is killed and started anew, as Kubernetes does; each container runs one."""

import asyncio

import pytest
from grpc import aio

from ratelimitd.proto import message
from testkit.redis_server import redis_server
from tests.service import service

pytestmark = [pytest.mark.scenario("one of several processes dies"), pytest.mark.redis, pytest.mark.process]

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
LIMIT = 40
POLICY = f"""
domain: d
descriptors:
  - {{key: user, on_store_failure: local, rate_limit: {{unit: hour, requests_per_unit: {LIMIT}}}}}
"""


async def passed(address, calls):
    """How many of so many calls pass, asked one after the other."""
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value="x")
    async with aio.insecure_channel(address) as channel:
        ask = channel.unary_unary(SHOULD_RATE_LIMIT)
        codes = [Response.FromString(await ask(request.SerializeToString(), timeout=10)) for _ in range(calls)]
    return sum(answer.overall_code == Response.OK for answer in codes)


async def test_a_killed_process_loses_no_count(tmp_path):
    """kill -9 of one of two under load: the other serves on, the next in its place goes on from what was counted."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    with redis_server() as redis:
        env = {"REDIS_URL": redis.address, "REPLICAS": "2"}
        config = "--config", str(tmp_path)
        async with service(*config, env=env) as one, service(*config, env=env) as two:
            assert await passed(one.grpc, 10) == 10
            under_way = asyncio.ensure_future(passed(two.grpc, 10))
            one.process.kill()
            assert await one.ended() < 0
            assert await under_way == 10
            async with service(*config, env=env) as again:
                assert await passed(again.grpc, LIMIT) == LIMIT - 20
                assert await passed(two.grpc, 1) == 0


async def test_processes_divide_what_is_local(tmp_path):
    """Without Redis each of two processes lets its half of the limit pass, and no more."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    with redis_server() as redis:
        env = {"REDIS_URL": redis.address, "REPLICAS": "2"}
        redis.kill()
        config = "--config", str(tmp_path)
        async with service(*config, env=env) as one, service(*config, env=env) as two:
            assert [await passed(each.grpc, LIMIT) for each in (one, two)] == [LIMIT // 2] * 2
