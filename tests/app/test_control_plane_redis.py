"""A service under Envoy Gateway's probes while its Redis is away."""

import re

import grpc
import pytest

from testkit.control_plane import control_plane
from testkit.redis_server import redis_server
from tests.app.test_control_plane import limited, serving
from tests.app.test_process import call, get, grpc_health, until

pytestmark = [pytest.mark.redis, pytest.mark.process]


async def test_counters_have_upstreams_names():
    """So envoyproxy/ratelimit and this service can count together while one takes over from the other."""
    with redis_server(tcp=True) as redis:
        async with control_plane() as plane:
            plane.push("1", limited(10))
            async with serving(plane.address, REDIS_URL=redis.address) as running:
                await plane.acked("1")
                await until(lambda: call(running.grpc), "OK")
                (key,) = (key for key in redis.ask("KEYS", "d_*"))
                assert re.fullmatch(r"d_user_x_\d+", key)
                assert int(key.rpartition("_")[2]) % 3600 == 0


OUTAGE = 600
PERIOD = 5
"""Seconds of an outage, and between two probes of Envoy Gateway; liveness and readiness have the same path."""


@pytest.mark.scenario("probes that report a wrong state")
async def test_an_outage_of_redis_restarts_no_pod():
    """As many probes as ten minutes have, of both kinds: none fails. Calls fail at once, and pass again afterwards."""
    with redis_server(tcp=True) as redis:
        async with control_plane() as plane:
            plane.push("1", limited(1_000_000))
            env = {"REDIS_URL": redis.address, "FORCE_START_WITHOUT_INITIAL_CONFIG": "true"}
            async with serving(plane.address, **env) as running:
                await plane.acked("1")
                await until(lambda: grpc_health(running.grpc), "SERVING")
                redis.kill()
                await until(lambda: grpc_health(running.grpc), "NOT_SERVING")
                assert (await call(running.grpc))[0] is grpc.StatusCode.UNAVAILABLE
                probes = [(await get(running.http, "/healthcheck"))[0] for _ in range(2 * OUTAGE // PERIOD)]
                assert set(probes) == {200}
                plane.push("2", limited(2_000_000))
                await plane.acked("2")
                assert (await get(running.http, "/healthcheck"))[0] == 200
                redis.start()
                await until(lambda: call(running.grpc), "OK")
