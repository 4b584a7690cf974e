"""Costs that come after the request, in a running service: what it says of them, and does when Redis is back."""

import asyncio
import json

import aiohttp
import pytest
from grpc import aio

from ratelimitd.client import METHOD
from ratelimitd.proto import message
from testkit.redis_server import redis_server
from tests.service import service

pytestmark = pytest.mark.process

TOKEN = "a-token-of-the-tests-0123456789"
POLICY = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 50, algorithm: gcra%s}}]\n"
WITH_REASON = "/ratelimitd.v1.RateLimitService/ShouldRateLimit"
Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
LABELS = '{domain="d",key1="k"}'


def request_of(hits):
    request = Request(domain="d")
    descriptor = request.descriptors.add()
    descriptor.entries.add(key="k", value="v")
    descriptor.hits_addend.value = hits
    return request


async def metrics(running):
    async with aiohttp.request("GET", f"http://{running.http}/metrics") as scraped:
        lines = (await scraped.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("ratelimit"))
    return {name: float(value) for name, _, value in pairs}


async def policy_page(running):
    url, headers = f"http://{running.debug}/admin/policy", {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.request("GET", url, headers=headers) as answer:
        return await answer.json()


async def by_json(running, hits):
    body = {"domain": "d", "descriptors": [{"entries": [{"key": "k", "value": "v"}], "hitsAddend": str(hits)}]}
    async with aiohttp.request("POST", f"http://{running.http}/json", data=json.dumps(body)) as answer:
        return answer.status


def lines(running, event):
    return [line for line in running.log if line.get("@message") == event]


async def test_a_switch_is_visible_and_our_own_tools_make_none(tmp_path):
    """In /admin/policy, as a gauge and once in the log, by what Envoy asks; /json and `check` are no sign."""
    (tmp_path / "policy.yaml").write_text(POLICY % "")
    env = {"ADMIN_TOKEN": TOKEN}
    async with service("--config", str(tmp_path), env=env) as running, aio.insecure_channel(running.grpc) as channel:
        ours, envoys = (
            channel.unary_unary(each, Request.SerializeToString, Response.FromString) for each in (WITH_REASON, METHOD)
        )
        for _ in range(4):
            await ours(request_of(0))
            assert await by_json(running, 0) == 200
        assert (await policy_page(running))["post_paid"] == {"limits": 0, "first": []}
        for _ in range(4):
            await envoys(request_of(0))
        await envoys(request_of(60))
        assert (await envoys(request_of(0))).overall_code == Response.OVER_LIMIT
        assert (await policy_page(running))["post_paid"] == {"limits": 1, "first": ["d.k"]}
        found = await metrics(running)
        assert found["ratelimitd_post_paid_limits"] == 1
        counted = {name: found[f"ratelimitd_{name}_total{LABELS}"] for name in ("settlements", "over_run_hits")}
        assert counted == {"settlements": 1, "over_run_hits": 10}
        assert [line["limit"] for line in lines(running, "costs of a limit come after its requests")] == ["d.k"]


async def test_forgotten_costs_are_counted_and_told_once(tmp_path):
    """With the key that cures it."""
    (tmp_path / "policy.yaml").write_text(POLICY % "")
    async with service("--config", str(tmp_path)) as running, aio.insecure_channel(running.grpc) as channel:
        ask = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        for hits in (50, 7, 8):
            await ask(request_of(hits))
        assert (await metrics(running))[f"ratelimitd_forgotten_hits_total{LABELS}"] == 15
        (line,) = lines(running, "costs were refused and forgotten")
        assert (line["level"], line["limit"]) == ("warning", "d.k")
        assert "charge: after" in line["note"]


@pytest.mark.redis
async def test_settlements_that_met_a_dead_redis_are_recorded_when_it_is_back(tmp_path):
    """Once; meanwhile they wait, and the failure policy decides."""
    (tmp_path / "policy.yaml").write_text(POLICY % ", charge: after")
    with redis_server() as redis:
        start = service("--config", str(tmp_path), env={"REDIS_URL": redis.address})
        async with start as running, aio.insecure_channel(running.grpc) as channel:
            ask = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
            assert (await ask(request_of(0))).overall_code == Response.OK
            redis.kill()
            await running.logged("redis is unavailable")
            for _ in range(3):
                with pytest.raises(aio.AioRpcError):
                    await ask(request_of(30))
            assert (await metrics(running))["ratelimitd_settlements_waiting"] == 3
            redis.start()
            async with asyncio.timeout(60):
                while (await metrics(running))["ratelimitd_settlements_late_total"] < 3:
                    await asyncio.sleep(0.05)
            found = await metrics(running)
            assert found["ratelimitd_settlements_waiting"] == 0
            assert found[f"ratelimitd_settled_hits_total{LABELS}"] == 90
            answer = await ask(request_of(0))
            assert answer.overall_code == Response.OVER_LIMIT
