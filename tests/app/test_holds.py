"""Holds in a running service: leases on the wire, and what it shows of them."""

import asyncio
import sys

import aiohttp
import pytest
from grpc import aio

from ratelimitd.client import METHOD
from ratelimitd.proto import message
from testkit.redis_server import redis_server
from tests.service import service

pytestmark = pytest.mark.process

TOKEN = "a-token-of-the-tests-0123456789"
POLICY = """
domain: d
descriptors:
- {key: k, rate_limit: {unit: day, requests_per_unit: 50, algorithm: gcra, reserve: {start: 10}}}
- {key: p, rate_limit: {concurrent: 2}}
"""
Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")


def request_of(key, hits=0, lease=None):
    request = Request(domain="d")
    descriptor = request.descriptors.add()
    descriptor.entries.add(key=key, value="v")
    if lease is not None:
        descriptor.entries.add(key="ratelimitd.lease", value=lease)
    if hits is not None:
        descriptor.hits_addend.value = hits
    return request


async def page(running, path, method="GET"):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.request(method, f"http://{running.debug}{path}", headers=headers) as answer:
        return await answer.json()


async def counter(running, descriptor):
    """The only counter of a descriptor."""
    (found,) = (await page(running, f"/admin/key?domain=d&descriptor={descriptor}"))["descriptors"]
    (limit,) = found["limits"]
    return limit


async def output(*words):
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()


async def metrics(running):
    async with aiohttp.request("GET", f"http://{running.http}/metrics") as scraped:
        lines = (await scraped.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("ratelimitd"))
    return {name: float(value) for name, _, value in pairs}


@pytest.mark.parametrize("metadata", ["false", "true"])
async def test_a_lease_is_in_the_metadata_of_an_answer_that_took_a_hold(tmp_path, metadata):
    """Beside what else is there; not of a denied request, of a settlement, or of a limit without holds."""
    (tmp_path / "p.yaml").write_text(POLICY + "- {key: plain, rate_limit: {unit: day, requests_per_unit: 50}}\n")
    env = {"RESPONSE_DYNAMIC_METADATA": metadata, "RESPONSE_DYNAMIC_METADATA_REASON": metadata}
    async with (
        service("--config", str(tmp_path / "p.yaml"), env=env) as running,
        aio.insecure_channel(running.grpc) as channel,
    ):
        call = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        leases = []
        for _ in range(6):
            answer = await call(request_of("k"))
            assert ("domain" in answer.dynamic_metadata) == (metadata == "true")
            leases.append(dict(answer.dynamic_metadata).get("lease"))
        assert len({*leases[:5]}) == 5
        assert leases[5] is None
        assert all(lease.endswith(".10") for lease in leases[:5])
        for asked in (request_of("k", 3, leases[0]), request_of("plain"), request_of("k", 0, "none")):
            assert "lease" not in (await call(asked)).dynamic_metadata
        found = await metrics(running)
        labels = '{domain="d",key1="k"}'
        assert found[f"ratelimitd_holds_total{labels}"] == 5
        assert found[f"ratelimitd_refused_by_holds_total{labels}"] == 1
        assert 0 < found[f"ratelimitd_reserve_amount{labels}"] < 10


async def test_what_is_held_is_shown_and_looks_hold_nothing(tmp_path):
    """By `check`, by the counters of a key and by the page of the policy; a reset frees what is held."""
    (tmp_path / "p.yaml").write_text(POLICY)
    async with (
        service("--config", str(tmp_path / "p.yaml"), env={"ADMIN_TOKEN": TOKEN}) as running,
        aio.insecure_channel(running.grpc) as channel,
    ):
        call = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        for key in ("k", "p", "p"):
            await call(request_of(key, None if key == "k" else 0))
        words = [sys.executable, "-m", "ratelimitd", "check", "-d", "d", "--address", running.grpc, "--hits", "0"]
        for _ in range(2):
            first, second, *_ = (await output(*words, "k=v", "p=w")).splitlines()
            assert first.startswith("OK         k=v: 39 left of 50 per day, 10 held, reset in ")
            assert second == "OK         p=w: 2 left of 2, 0 held"
        assert (await output(*words, "p=v")).startswith("OVER_LIMIT p=v: over 2, 2 held, try again in 1 s")
        for _ in range(2):
            ((limit,),) = [
                each["limits"] for each in (await page(running, "/admin/key?domain=d&descriptor=p=v"))["descriptors"]
            ]
            assert (limit["held"], limit["remaining"], limit["allowed"]) == (2, 0, False)
        assert (await page(running, "/admin/policy"))["reserve"] == {"d.k": 10}
        await page(running, "/admin/key?domain=d&descriptor=p=v", "DELETE")
        ((limit,),) = [
            each["limits"] for each in (await page(running, "/admin/key?domain=d&descriptor=p=v"))["descriptors"]
        ]
        assert (limit["held"], limit["remaining"], limit["allowed"]) == (0, 2, True)


@pytest.mark.redis
@pytest.mark.scenario("Redis hangs, is slow, or is unreachable")
async def test_a_redis_that_was_late_shuts_no_caller_out(tmp_path):
    """The holds that it took for calls which were answered without it are released, and not left to their ttl."""
    (tmp_path / "p.yaml").write_text(POLICY)
    with redis_server() as redis:
        env = {"REDIS_URL": redis.address, "ADMIN_TOKEN": TOKEN}
        async with (
            service("--config", str(tmp_path / "p.yaml"), env=env) as running,
            aio.insecure_channel(running.grpc) as channel,
        ):
            call = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
            redis.hang()
            answers = await asyncio.gather(*[call(request_of("p")) for _ in range(2)], return_exceptions=True)
            assert [answer.code().name for answer in answers] == ["UNAVAILABLE"] * 2
            redis.resume()
            async with asyncio.timeout(60):
                while (await metrics(running))["ratelimitd_settlements_late_total"] < 2:
                    await asyncio.sleep(0.02)
            assert (await counter(running, "p=v"))["held"] == 0
