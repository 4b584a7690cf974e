"""What /healthcheck says of a start while Redis is away, under Envoy Gateway's probes."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from ratelimitd.app import life
from ratelimitd.app.engine import build
from ratelimitd.app.life import START_WAITS, connect
from ratelimitd.app.policies import Policies, source_of
from ratelimitd.app.service import RunningService
from ratelimitd.observe.health import Health
from ratelimitd.settings import load
from testkit.redis_server import free_port, redis_server

STARTUP = 30 * 10
"""Seconds until Envoy Gateway's startup probe ends a pod: 30 failures, 10 s apart."""

TOLD = "redis was not available since the start"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(life, "START_WAITS", 0.2)
    monkeypatch.setattr(life, "CONNECT_FIRST", 0.0)


@asynccontextmanager
async def started(address, **env):
    """A service whose policy is there at once, since FORCE_START_WITHOUT_INITIAL_CONFIG waits for none."""
    settings = load({"REDIS_URL": address, "FORCE_START_WITHOUT_INITIAL_CONFIG": "true", **env}, {})
    parts = build(settings)
    policies = Policies(source_of(settings, ()), settings, parts)
    service = RunningService(settings, parts, policies, Health(), Health(), Health())
    service.update_health()
    async with AsyncExitStack() as stack:
        await connect(service, stack)
        yield service


async def passed(health):
    async with asyncio.timeout(30):
        while not health.healthy:
            await asyncio.sleep(0.01)


def test_a_start_waits_for_less_than_envoy_gateway_does():
    """With a minute for what else a start does: a pod is never ended for a Redis that is away."""
    assert START_WAITS <= STARTUP - 60


@pytest.mark.scenario("probes that report a wrong state")
async def test_a_start_while_redis_is_away_passes_in_the_end():
    """At first it holds back a rollout; then a restart would help no more. gRPC health goes on telling of Redis."""
    with capture_logs() as lines:
        async with started(f"localhost:{free_port()}") as service:
            assert service.health.failing() == [("redis", "not connected yet")]
            await passed(service.health)
            service.update_health()
            assert (service.health.healthy, service.serving.healthy, service.readiness.healthy) == (True, False, True)
    assert [line["event"] for line in lines].count(TOLD) == 1


async def test_a_start_that_follows_redis_goes_on_waiting():
    """REDIS_HEALTH_CHECK_ACTIVE_CONNECTION asks for a connection, whenever that is."""
    with capture_logs() as lines:
        async with started(f"localhost:{free_port()}", REDIS_HEALTH_CHECK_ACTIVE_CONNECTION="true") as service:
            service.wait_no_longer()
            service.update_health()
            assert not service.health.healthy
    assert TOLD not in [line["event"] for line in lines]


@pytest.mark.redis
async def test_a_start_that_finds_redis_tells_nothing():
    """The wait ends without a line, and a Redis that is lost afterwards changes no probe that restarts a pod."""
    with redis_server(tcp=True) as redis, capture_logs() as lines:
        async with started(redis.address) as service:
            await passed(service.health)
            service.wait_no_longer()
            assert service.health.healthy
    assert TOLD not in [line["event"] for line in lines]
