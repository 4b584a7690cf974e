"""A real service process whose Redis is unavailable, killed, hung or full, as its callers over gRPC see it."""

import asyncio
import random
import re
import time
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc import aio

from ratelimitd.proto import message
from testkit.fault_proxy import Way
from testkit.redis_server import free_port, redis_server
from tests.faults.load import PATIENCE, TENDER
from tests.service import service

pytestmark = pytest.mark.alone

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

POLICIES = ("error", "allow", "deny", "local")
KEYS = 40
APART = 100_000
"""Between the limits of two keys, and more than the calls of any test: remaining identifies the key of an answer."""
REPLICAS = 4

UNAVAILABLE = "UNAVAILABLE"
OF_OUTAGE = {"error": {UNAVAILABLE}, "allow": {"OK"}, "deny": {"OVER_LIMIT"}, "local": {"OK", "OVER_LIMIT"}}
"""The possible results of a call while Redis is unavailable, by its limit's failure policy."""


def policy_file(folder):
    """A file with a limit for each policy of failure, and keys that have a limit of their own each."""
    limits = {policy: 40 if policy == "local" else 1_000_000 for policy in POLICIES}
    lines = ["domain: d", "descriptors:"]
    for policy, limit in limits.items():
        lines += [f"  - key: {policy}", f"    on_store_failure: {policy}", rate(limit)]
    for number in range(KEYS):
        lines += ["  - key: own", f"    value: v{number}", rate(own(number))]
    path = folder / "policy.yaml"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def rate(limit):
    """A line of the policy file."""
    return f"    rate_limit: {{unit: year, requests_per_unit: {limit}}}"


def own(number):
    """The limit of a key."""
    return (number + 1) * APART


class Client:
    """Calls over gRPC, and what they came to."""

    def __init__(self, channel):
        self._call = channel.unary_unary(SHOULD_RATE_LIMIT)
        self.seen: dict[str, Counter[str]] = defaultdict(Counter)
        self.longest = 0.0

    async def ask(self, key, value="x"):
        """The answer; or None, and the code is in ``seen``, as that of every call."""
        request = Request(domain="d")
        request.descriptors.add().entries.add(key=key, value=value)
        started = time.monotonic()
        answer = None
        try:
            answer = Response.FromString(await self._call(request.SerializeToString(), timeout=PATIENCE))
            came_to = Response.Code.Name(answer.overall_code)
        except aio.AioRpcError as error:
            came_to = error.code().name
        self.longest = max(self.longest, time.monotonic() - started)
        self.seen[key][came_to] += 1
        return answer

    async def until(self, true):
        """Ask for the limit with ``error`` until it is true; seconds that took."""
        started = time.monotonic()
        while not true():
            assert time.monotonic() - started < PATIENCE
            await self.ask("error")
            await asyncio.sleep(0.005)
        return time.monotonic() - started

    async def until_decided(self):
        """Ask until Redis decides; seconds that took."""
        before = self.seen["error"]["OK"]
        return await self.until(lambda: self.seen["error"]["OK"] > before)


@asynccontextmanager
async def running(folder, address, **env):
    """A service with the budget that it has by default, and a client of it. Nothing unforeseen may be in its log."""
    given = {"REDIS_URL": address, "STORE_BUDGET": "15ms", "REPLICAS": str(REPLICAS), **env}
    async with service("--config", policy_file(folder), env=given) as process:
        async with aio.insecure_channel(process.grpc) as channel:
            yield process, Client(channel)
        assert not [line for line in process.log if line.get("level") in ("error", "critical")], process.text
        assert "Traceback" not in process.text


@asynccontextmanager
async def loaded(client, callers=8):
    """Ask for the limits of all policies, over and over."""
    stopped = False

    async def caller(seed):
        draw = random.Random(seed)
        while not stopped:
            await client.ask(draw.choice(POLICIES))
            await asyncio.sleep(draw.uniform(0, 0.005))

    tasks = [asyncio.create_task(caller(seed)) for seed in range(callers)]
    try:
        yield
    finally:
        stopped = True
        await asyncio.gather(*tasks)


async def metric(process, name):
    """The sum of the series of this name."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{process.http}/metrics") as answer:
        text = await answer.text()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def edges(process):
    """What the log says of Redis, in order."""
    told = (str(line.get("@message")) for line in process.log)
    return [message for message in told if message in ("redis is unavailable", "redis is connected")]


async def outage(client, calls=200):
    """See that every call comes to what its limit's policy says, until so many did."""
    client.seen.clear()
    for turn in range(calls):
        await client.ask(POLICIES[turn % len(POLICIES)])
    wrong = {key: came_to for key, came_to in client.seen.items() if not set(came_to) <= OF_OUTAGE[key]}
    assert not wrong, wrong


@pytest.mark.redis
@pytest.mark.process
@pytest.mark.scenario("Redis is not running when the service starts")
async def test_redis_comes_after_the_service(tmp_path):
    """Without its Redis the service starts and answers by each limit's policy; it decides within 2 s of its coming."""
    port = free_port()
    # Each answer of Redis is expected, and a machine that runs tests may be later than the default budget.
    async with running(tmp_path, f"127.0.0.1:{port}", STORE_BUDGET="5s") as (process, client):
        await outage(client)
        assert client.seen["local"] == {"OK": 40 // REPLICAS, "OVER_LIMIT": 50 - 40 // REPLICAS}
        with redis_server("--port", str(port)):
            assert await client.until_decided() < 2.0
            assert edges(process) == ["redis is unavailable", "redis is connected"]
            for key in POLICIES:
                answer = await client.ask(key)
                assert answer is not None
        assert client.longest < TENDER


def killed(server):
    """kill -9 and a new start."""
    return server.kill, server.start


def hung(server):
    """SIGSTOP and SIGCONT."""
    return server.hang, server.resume


@pytest.mark.redis
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(killed, marks=pytest.mark.scenario("Redis dies under load")),
        pytest.param(hung, marks=pytest.mark.scenario("Redis hangs, is slow, or is unreachable")),
    ],
)
async def test_an_outage_under_load(tmp_path, server, how):
    """Redis dies or hangs under load: each call is answered in time by its own limit's policy; Redis is found again.

    Each edge is logged once, memory does not grow, and what was answered without Redis is counted.
    """
    begin, end = how(server)
    async with running(tmp_path, server.address, STORE_IN_FLIGHT="64") as (process, client), loaded(client):
        await client.until_decided()
        begin()
        await client.until(lambda: client.seen["error"][UNAVAILABLE] > 20)
        memory = resident(process)
        await outage(client, 1_000)
        assert await metric(process, "ratelimitd_redis_in_flight") <= 64
        assert resident(process) - memory < 16 << 20
        end()
        assert await client.until_decided() < 1.0
        assert await metric(process, "ratelimitd_store_fallbacks_total") >= 1_000
        assert client.longest < TENDER
        # A loaded machine may be late, and Redis with it: there may be more outages than this one.
        told = edges(process)
        assert len(told) >= 3
        assert told == ["redis is connected", "redis is unavailable"] * (len(told) // 2) + ["redis is connected"]


def resident(process):
    """Bytes of memory that the process has."""
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024


@pytest.mark.redis
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.scenario("a caller cancels while its reply is in flight")
async def test_callers_that_hang_up(tmp_path, proxy):
    """Half of the callers cancel while Redis is slow: remaining in each answer belongs to its own limit."""
    async with running(tmp_path, proxy.address, STORE_BUDGET="5s") as (process, client):
        draw = random.Random(11)
        right = 0

        async def caller():
            nonlocal right
            number = draw.randrange(KEYS)
            answer = await client.ask("own", f"v{number}")
            assert own(number) - APART < answer.statuses[0].limit_remaining < own(number)  # type: ignore[attr-defined]
            right += 1

        await caller()
        with proxy.fault(replies=Way(delay=0.002, jitter=0.02)):
            for _ in range(40):
                tasks = [asyncio.create_task(caller()) for _ in range(20)]
                await asyncio.sleep(draw.uniform(0, 0.01))
                for task in tasks[::2]:
                    task.cancel()
                await gathered(*tasks)
        await caller()
        assert right > 400
        while await metric(process, "ratelimitd_redis_in_flight"):
            await asyncio.sleep(0.01)


async def gathered(*tasks):
    """Wait for all; raise any error that is not a cancellation."""
    for problem in await asyncio.gather(*tasks, return_exceptions=True):
        if problem is not None and not isinstance(problem, asyncio.CancelledError):
            raise problem


@pytest.mark.redis
@pytest.mark.process
@pytest.mark.scenario("Redis is out of memory")
async def test_full_memory(tmp_path, server):
    """Redis without memory: a denial stands, the rest is answered by policy, and Redis counts as connected."""
    async with running(tmp_path, server.address, STORE_BUDGET="5s") as (process, client):
        for _ in range(41):
            await client.ask("local")
        assert client.seen["local"] == {"OK": 40, "OVER_LIMIT": 1}
        server.ask("CONFIG", "SET", "maxmemory", 1)
        await outage(client, 100)
        assert client.seen["local"] == {"OVER_LIMIT": 25}
        assert edges(process) == ["redis is connected"]
        assert await metric(process, "ratelimitd_redis_breaker_opens_total") == 0
        server.ask("CONFIG", "SET", "maxmemory", 0)
        assert await client.until_decided() < 1.0


def test_codes_are_known():
    """The table of what an outage may come to speaks of codes that exist."""
    names = {each.name for each in grpc.StatusCode} | set(Response.Code.keys())
    assert set().union(*OF_OUTAGE.values()) <= names
