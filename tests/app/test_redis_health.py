"""What each probe says of a Redis that is lost, full, or refuses its user, and what the log says of it."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from testkit.redis_server import redis_server
from tests.app.test_process import POLICY, call, get, grpc_health, until
from tests.service import service

pytestmark = [pytest.mark.redis, pytest.mark.process]


@pytest.fixture
def server():
    with redis_server(tcp=True) as running:
        yield running


@asynccontextmanager
async def running(tmp_path, server, more="", **env):
    """A service that has been healthy."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format(limit=1_000_000, more=more))
    async with service("--config", str(path), env={"REDIS_URL": server.address, **env}) as process:
        await until(lambda: grpc_health(process.grpc), "SERVING")
        yield process


async def health(process):
    """What /healthcheck, /readyz, /livez and gRPC say."""
    pages = [(await get(process.http, path))[0] for path in ("/healthcheck", "/readyz", "/livez")]
    return [*pages, await grpc_health(process.grpc)]


@pytest.mark.scenario("probes that report a wrong state")
async def test_a_lost_redis_restarts_nothing(tmp_path, server):
    """gRPC health and a line of /readyz follow Redis; every probe that Kubernetes or Envoy Gateway has still passes."""
    async with running(tmp_path, server) as process:
        assert await health(process) == [200, 200, 200, "SERVING"]
        server.kill()
        await until(lambda: health(process), [200, 200, 200, "NOT_SERVING"])
        await until(lambda: refused_by(process), True)
        server.start()
        await until(lambda: health(process), [200, 200, 200, "SERVING"])
        assert await get(process.http, "/readyz") == (200, "OK")
        line = await process.logged("redis is connected", after=len(process.log) - 1)
        assert line["seconds"] > 0


async def refused_by(process):
    """Whether /readyz has the current reason: nothing listens, though at first Redis closed the connection."""
    return "Connection refused" in (await get(process.http, "/readyz"))[1]


async def test_healthcheck_follows_redis_when_asked(tmp_path, server):
    """REDIS_HEALTH_CHECK_ACTIVE_CONNECTION makes /healthcheck fail without a connection, as upstream's does."""
    env = {"REDIS_HEALTH_CHECK_ACTIVE_CONNECTION": "true"}
    async with running(tmp_path, server, more=", on_store_failure: local", **env) as process:
        await until(lambda: health(process), [200, 200, 200, "SERVING"])
        server.kill()
        await until(lambda: health(process), [500, 200, 200, "SERVING"])
        server.start()
        await until(lambda: health(process), [200, 200, 200, "SERVING"])


FAULTS = [
    pytest.param(
        ("ACL", "SETUSER", "default", "-evalsha"), ("ACL", "SETUSER", "default", "+evalsha"), "NOPERM", id="ACL"
    ),
    pytest.param(("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0), "OOM", id="full"),
]


@pytest.mark.scenario("Redis is out of memory")
@pytest.mark.parametrize(("begin", "end", "word"), FAULTS)
async def test_a_redis_that_refuses_every_call(tmp_path, server, begin, end, word):
    """A permanent error of every call fails gRPC health, and is in the log, a metric and /readyz."""
    async with running(tmp_path, server) as process:
        assert await call(process.grpc) == "OK"
        server.ask(*begin)
        async with asyncio.timeout(20):
            while await grpc_health(process.grpc) == "SERVING":
                assert (await call(process.grpc))[0] == grpc.StatusCode.UNAVAILABLE
        assert await health(process) == [200, 200, 200, "NOT_SERVING"]
        assert word in (await process.logged("store failure"))["reason"]
        assert word in (await process.logged("redis refuses every call"))["reason"]
        status, text = await get(process.http, "/readyz")
        assert (status, text.split()[:3]) == (200, ["OK", "redis:", word])
        assert (
            f'ratelimitd_redis_node_refusing{{node="{server.address}"}} 1' in (await get(process.http, "/metrics"))[1]
        )
        server.ask(*end)
        await until(lambda: health(process), [200, 200, 200, "SERVING"])
        assert (await process.logged("redis accepts calls"))["on_store_failure"]["error"] > 0
        assert await call(process.grpc) == "OK"
