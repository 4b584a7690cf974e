"""Answers that are paid for afterwards, through a real Envoy: asked for first, reported when the stream has ended."""

import asyncio

import aiohttp
import pytest

from ratelimitd.algorithms import ALGORITHMS
from testkit.envoy import bootstrap, envoy, generic, route, upstream
from tests.service import service

pytestmark = [pytest.mark.envoy, pytest.mark.process]

NAMES = list(ALGORITHMS)
BUDGET = "unit: day, requests_per_unit: 50"
LIMIT = "- {{key: path, value: {name}, rate_limit: {{{budget}, algorithm: {algorithm}{more}}}}}\n"
POLICY = "domain: demo\ndescriptors:\n" + "".join(
    LIMIT.format(name=f"{said}_{name}", budget=BUDGET, algorithm=name, more=more)
    for said, more in (("after", ", charge: after"), ("unsaid", ""), ("one", ", charge: after"))
    for name in NAMES
)
COST = 30


def budget(name, question):
    """A route that asks and then reports ``COST``; ``question``: the hits_addend of the first call."""
    built, actions = route(f"/{name}"), [generic("path", name)]
    report = {"actions": actions, "hits_addend": {"number": COST}, "apply_on_stream_done": True}
    built["typed_per_filter_config"] = {
        "envoy.filters.http.ratelimit": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
            "rate_limits": [{"actions": actions, **question}, report],
        }
    }
    return built


ZERO = {"hits_addend": {"number": 0}}
ROUTES = [
    budget(f"{said}_{name}", {} if said == "one" else ZERO) for said in ("after", "unsaid", "one") for name in NAMES
]


@pytest.fixture
async def front(tmp_path, store_env):
    """Envoy in front of a service with POLICY, and the service."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with (
        upstream() as up,
        service("--config", str(tmp_path / "policy.yaml"), env=store_env) as running,
        envoy(bootstrap([running.grpc], up, ROUTES), tmp_path) as proxy,
        aiohttp.ClientSession(proxy.url) as client,
    ):
        yield client, running


async def hits(running, name):
    """Hits that arrived for a path, whatever became of them."""
    async with aiohttp.request("GET", f"http://{running.http}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    start = f'ratelimit_service_rate_limit_total_hits{{domain="demo",key1="path_{name}"}}'
    return next((int(line.rpartition(" ")[2]) for line in lines if line.startswith(start)), 0)


async def passed(front, name, asked):
    """How many of 12 requests pass, each sent when the report of the one before has arrived. Envoy reports 429s too."""
    client, running = front
    found = []
    for number in range(12):
        async with client.get(f"/{name}") as answer:
            found.append(answer.status)
        async with asyncio.timeout(30):
            while await hits(running, name) < (number + 1) * (COST + asked):
                await asyncio.sleep(0.01)
    assert set(found) == {200, 429}
    return found.count(200)


async def test_a_budget_of_50_lets_2_of_12_answers_of_30_pass(front):
    """By every algorithm with ``charge: after``; with nothing said where Envoy asks with an explicit 0; and where it
    asks with its default of 1 and the policy says so."""
    for said, asked in (("after", 0), ("unsaid", 0), ("one", 1)):
        assert {name: await passed(front, f"{said}_{name}", asked) for name in NAMES} == dict.fromkeys(NAMES, 2)
