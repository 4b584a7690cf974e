"""Reservations and requests in progress through a real Envoy, with leases by its ``metadata`` action and without."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from testkit.envoy import bootstrap, envoy, generic, route
from tests.service import service

pytestmark = [pytest.mark.envoy, pytest.mark.process]

BUDGET = "unit: day, requests_per_unit: 50, algorithm: token_bucket, reserve: {amount: 10}"
POLICY = f"""
domain: demo
descriptors:
- {{key: path, value: leased, rate_limit: {{{BUDGET}}}}}
- {{key: path, value: plain, rate_limit: {{{BUDGET}}}}}
- {{key: path, value: places, rate_limit: {{concurrent: 5}}}}
- {{key: path, value: pair, rate_limit: {{concurrent: 5}}}}
"""
LEASE = {
    "metadata": {
        "descriptor_key": "ratelimitd.lease",
        "default_value": "none",
        "metadata_key": {"key": "envoy.filters.http.ratelimit", "path": [{"key": "lease"}]},
    }
}
COST = {"format": "%TYPED_CEL(response.code == 200 ? 1 : null)%"}
"""Of an answer; a request that was denied reports nothing."""


def stream(name, *more, cost):
    """A route that asks with 0, and reports when the stream has ended."""
    built, actions = route(f"/{name}"), [generic("path", name)]
    report = {"actions": [*actions, *more], "hits_addend": cost, "apply_on_stream_done": True}
    built["typed_per_filter_config"] = {
        "envoy.filters.http.ratelimit": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
            "rate_limits": [{"actions": actions, "hits_addend": {"number": 0}}, report],
        }
    }
    return built


def pair(name):
    """A route without hits: a descriptor before the request, and one with the lease when the stream has ended."""
    built = stream(name, LEASE, cost=None)
    for descriptor in built["typed_per_filter_config"]["envoy.filters.http.ratelimit"]["rate_limits"]:
        del descriptor["hits_addend"]
    return built


ROUTES = [
    stream("leased", LEASE, cost=COST),
    stream("plain", cost=COST),
    stream("places", LEASE, cost={"number": 1}),
    pair("pair"),
]


class Answers:
    """An upstream whose answers are in progress until they are let go, one after the other."""

    def __init__(self):
        self.go = asyncio.Semaphore(0)
        self.streams = []

    async def answer(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await self.go.acquire()
        await response.write_eof()
        return response


@asynccontextmanager
async def slow():
    answers = Answers()
    runner = web.ServerRunner(web.Server(answers.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield answers, "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@pytest.fixture(params=["", "true"], ids=["", "metadata"])
async def front(request, tmp_path, store_env):
    """Envoy in front of a service, with and without RESPONSE_DYNAMIC_METADATA, and answers that wait."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    env = {**store_env, "RESPONSE_DYNAMIC_METADATA": request.param or "false"}
    async with (
        slow() as (answers, address),
        service("--config", str(tmp_path / "policy.yaml"), env=env) as running,
        envoy(bootstrap([running.grpc], address, ROUTES), tmp_path) as proxy,
        aiohttp.ClientSession(proxy.url, connector=aiohttp.TCPConnector(limit=0)) as client,
    ):
        yield client, answers, running
        for each in answers.streams:
            answers.go.release()
            each.close()


async def metric(running, name, path):
    """A counter of a limit."""
    async with aiohttp.request("GET", f"http://{running.http}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    start = f'{name}{{domain="demo",key1="path_{path}"}}'
    return next((int(line.rpartition(" ")[2]) for line in lines if line.startswith(start)), 0)


async def started(front, path, number):
    """Statuses of as many streams that begin at once; those that pass stay open, as the second."""
    client, upstream, _ = front
    answers = await asyncio.gather(*(client.get(f"/{path}") for _ in range(number)))
    found = [answer.status for answer in answers]
    for answer in answers:
        if answer.status != 200:
            answer.release()
    passed = [answer for answer in answers if answer.status == 200]
    upstream.streams += passed
    return found, passed


async def ended(front, path, answers):
    """End streams, and wait until their reports have arrived."""
    _, upstream, running = front
    wanted = await metric(running, "ratelimitd_settlements_total", path) + len(answers)
    for _ in answers:
        upstream.go.release()
    async with asyncio.timeout(30):
        while await metric(running, "ratelimitd_settlements_total", path) < wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", ["leased", "plain"])
async def test_20_parallel_streams_on_a_budget_of_50_with_holds_of_10_pass_5(front, path):
    """The next ones pass when some have ended, as far as what these have left is enough."""
    _, _, running = front
    found, streams = await started(front, path, 20)
    assert (found.count(200), found.count(429)) == (5, 15)
    assert (await started(front, path, 3))[0] == [429] * 3
    await ended(front, path, streams[:3])
    found, more = await started(front, path, 6)
    assert found.count(200) == 2  # 3 are used, 20 held
    await ended(front, path, [*streams[3:], *more])
    assert await metric(running, "ratelimitd_leases_unknown_total", path) == 0
    assert (await started(front, path, 6))[0].count(200) == 4


@pytest.mark.parametrize("path", ["places", "pair"])
async def test_requests_in_progress_are_bounded_and_places_are_freed_once(front, path):
    """5 of 12 pass, with hits and without; denied ones report too, with the lease ``none``, and free no place."""
    _, upstream, _ = front
    found, streams = await started(front, path, 12)
    assert (found.count(200), found.count(429)) == (5, 7)
    assert (await started(front, path, 4))[0] == [429] * 4
    upstream.go.release()
    async with asyncio.timeout(30):
        while True:
            found, more = await started(front, path, 1)
            if found == [200]:
                break
            await asyncio.sleep(0.01)
    assert (await started(front, path, 4))[0] == [429] * 4
    assert len(streams) + len(more) == 6
