"""A process at the end of its file descriptors."""

import asyncio
import os
import resource
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from grpc import aio

from ratelimitd.proto import message
from testkit.redis_server import redis_server
from tests.service import service

pytestmark = [pytest.mark.redis, pytest.mark.process]

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
POLICY = "domain: d\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 100000}}]\n"

SPARE = 20
CALLERS = 3 * SPARE
WATCHED = 1.0
"""Seconds that the process is watched while it can accept nobody."""


def descriptors(pid):
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def worked(pid):
    """Seconds of CPU that it has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def body():
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value="x")
    return request.SerializeToString()


@pytest.mark.scenario("no file descriptor is left")
async def test_no_descriptor_left(tmp_path):
    """Who is connected is served, nothing spins, ends or fills the log, and when others go new ones are served."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    with redis_server() as redis:
        async with (
            service("--config", str(tmp_path), env={"REDIS_URL": redis.address, "CORE_DUMPS": "true"}) as running,
            aio.insecure_channel(running.grpc) as early,
        ):
            ask = early.unary_unary(SHOULD_RATE_LIMIT)
            await ask(body(), timeout=10)
            pid = running.process.pid
            most = descriptors(pid) + SPARE
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
            async with AsyncExitStack() as others:
                for address in (running.grpc, running.http) * (CALLERS // 2):
                    host, port = address.rsplit(":", 1)
                    _, writer = await asyncio.open_connection(host, int(port))
                    others.callback(writer.close)
                async with asyncio.timeout(10):
                    while descriptors(pid) < most - 1:  # one is kept back by some loops, to turn callers away with
                        await asyncio.sleep(0.01)
                before = worked(pid)
                await asyncio.sleep(WATCHED)
                assert worked(pid) - before < WATCHED / 2
                await ask(body(), timeout=10)
            async with aio.insecure_channel(running.grpc) as late:
                await late.unary_unary(SHOULD_RATE_LIMIT)(body(), timeout=30, wait_for_ready=True)
            assert running.process.returncode is None
            assert len(running.log) < SPARE
