"""Change under traffic: a reload, and a rolling restart of two services, with a real Envoy that must not notice."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from testkit.envoy import bootstrap, envoy, header, route, upstream
from testkit.redis_server import redis_server
from tests.service import service

pytestmark = [pytest.mark.envoy, pytest.mark.process, pytest.mark.slow, pytest.mark.alone]

POLICY = "domain: demo\ndescriptors:\n  - {{key: user, rate_limit: {{unit: hour, requests_per_unit: {limit}}}}}\n"
ROUTES = [route("/", [header("x-user", "user")])]


class Traffic:
    """What requests came to, by status."""

    def __init__(self):
        self.statuses = []

    async def grown(self, by):
        """Wait until so many more requests were answered."""
        wanted = len(self.statuses) + by
        async with asyncio.timeout(30):
            while len(self.statuses) < wanted:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def traffic(url, workers=4):
    """Requests of many users without a pause, from some clients at once."""
    seen = Traffic()

    async def work(client, number):
        n = 0
        while True:
            n += 1
            async with client.get("/", headers={"x-user": f"w{number}-{n // 3}"}) as answer:
                seen.statuses.append(answer.status)

    async with aiohttp.ClientSession(url) as client:
        tasks = [asyncio.create_task(work(client, number)) for number in range(workers)]
        try:
            yield seen
            failed = [task.exception() for task in tasks if task.done()]
            assert not failed, failed
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def statuses(url, user, count):
    async with aiohttp.ClientSession(url) as client:
        found = []
        for _ in range(count):
            async with client.get("/", headers={"x-user": user}) as answer:
                found.append(answer.status)
        return found


async def assert_unnoticed(proxy):
    """No call of Envoy failed, none passed because of a failure."""
    assert {name: await proxy.stat(f"ratelimit.{name}") for name in ("error", "failure_mode_allowed")} == {
        "error": 0,
        "failure_mode_allowed": 0,
    }
    assert await proxy.stat("ratelimit.ok") > 0


@pytest.mark.scenario("an invalid policy, at startup or on reload")
async def test_a_reload_under_traffic_fails_no_call_and_then_bites(tmp_path):
    """A policy that changes under traffic is in force soon after, and a broken one leaves the old one there."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(limit=1000))
    async with (
        upstream() as up,
        service("--config", str(policy)) as running,
        envoy(bootstrap([running.grpc], up, ROUTES), tmp_path) as proxy,
        traffic(proxy.url) as seen,
    ):
        await seen.grown(50)
        policy.write_text(POLICY.format(limit=2))
        await running.logged("policy loaded", after=len(running.log))
        await seen.grown(50)
        assert await statuses(proxy.url, "eve", 3) == [200, 200, 429]
        mark = len(running.log)
        policy.write_text("domain: [\n")
        await running.logged("policy rejected", after=mark)
        await seen.grown(50)
        assert await statuses(proxy.url, "fay", 3) == [200, 200, 429]
        await assert_unnoticed(proxy)


@pytest.mark.redis
@pytest.mark.scenario("the service shuts down")
async def test_a_rolling_restart_of_two_services_fails_no_call(tmp_path):
    """Two services that share a Redis are replaced one after the other; Envoy sees no failure and limits still bite."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(limit=3))
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server())
        env = {"REDIS_URL": redis.address, "DRAIN_DELAY": "1s"}

        async def started(port="0"):
            return await stack.enter_async_context(service("--config", str(policy), env={**env, "GRPC_PORT": port}))

        services = [await started(), await started()]
        config = bootstrap([each.grpc for each in services], await stack.enter_async_context(upstream()), ROUTES)
        config["static_resources"]["clusters"][0] |= HEALTH_CHECKED
        proxy = await stack.enter_async_context(envoy(config, tmp_path))
        seen = await stack.enter_async_context(traffic(proxy.url))
        await seen.grown(50)
        assert await statuses(proxy.url, "eve", 3) == [200, 200, 200]
        for old in services:
            old.terminate()
            assert await old.ended() == 0, old.text
            await started(old.grpc.rpartition(":")[2])
            await seen.grown(100)
        assert await statuses(proxy.url, "eve", 1) == [429]
        await assert_unnoticed(proxy)


HEALTH_CHECKED = {
    "common_lb_config": {"update_merge_window": "0s"},
    "health_checks": [
        {
            "timeout": "1s",
            "interval": "0.1s",
            "no_traffic_interval": "0.1s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "grpc_health_check": {"service_name": "ratelimit"},
        }
    ],
}
"""Lets Envoy leave a service that says it is going well within the drain delay.

By default Envoy merges the health changes of a cluster for a second, so that a second one within it comes late.
"""
