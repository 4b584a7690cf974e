"""What a counter holds after each course that an answer may take, through a real Envoy that asks first and reports when
the stream has ended: an answer's fixed cost, its usage, and its usage or a substitute.
"""

import asyncio
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from testkit.envoy import bootstrap, envoy, header, route
from testkit.fault_proxy import Way, fault_proxy
from tests.e2e.model import FILTERS, FIXED, SUBSTITUTE, USED, model, protocol, reports
from tests.service import service

pytestmark = [pytest.mark.envoy, pytest.mark.process]

PATIENCE = 30.0
LIMIT = 1000
YEAR = 365 * 86_400
KINDS = ("fixed", "usage", "substituted")
POLICY = "domain: demo\ndefault_charge: after\ndefault_algorithm: token_bucket\ndescriptors:\n" + "".join(
    f"- {{key: {kind}, rate_limit: {{unit: year, requests_per_unit: {LIMIT}}}}}\n" for kind in KINDS
)
"""Buckets that refill so slowly that a test sees nothing of it."""

PATH = "/v1/chat/completions"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ALL = (FIXED, USED, USED)
BOTH = pytest.mark.parametrize("filters", sorted(FILTERS))


def routes(filters):
    """Two routes: one that asks with an explicit 0, and one that asks without hits."""
    for prefix, asked in (("/absent", {}), ("/", {"hits_addend": {"number": 0}})):
        built = route(prefix)
        built["route"]["prefix_rewrite"] = PATH
        limits = []
        for kind, hits in reports(filters).items():
            actions = [header("x-tenant", kind)]
            limits.append({"actions": actions, **asked})
            limits.append({"actions": actions, "hits_addend": hits, "apply_on_stream_done": True})
        kind = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"
        own = {"envoy.filters.http.ratelimit": {"@type": kind, "rate_limits": limits}}
        yield {**built, "typed_per_filter_config": {**own, **protocol(filters)}}


class Front:
    """An Envoy in front of a model, a service, and the network between Envoy and the service."""

    def __init__(self, proxy, running, network, upstream):
        self.proxy, self.running, self.network, self.model = proxy, running, network, upstream

    @asynccontextmanager
    async def asked(self, tenant, answer, path=PATH):
        """Send a request of a tenant; its connection is closed in the end, whether or not the answer was read."""
        headers = {"x-tenant": tenant, "x-answer": answer}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as client:
            async with client.post(f"{self.proxy.url}{path}", json=CHAT, headers=headers) as response:
                yield response

    async def ask(self, tenant, answer):
        """Return the status of a request whose answer is read to its end."""
        async with self.asked(tenant, answer) as response:
            await response.read()
            return response.status

    async def json(self, kind, tenant, hits, **more):
        """Ask the service itself; return the status of the descriptor."""
        descriptor = {"entries": [{"key": kind, "value": tenant}], "hitsAddend": str(hits), **more}
        body = {"domain": "demo", "descriptors": [descriptor]}
        async with aiohttp.request("POST", f"http://{self.running.http}/json", json=body) as answer:
            return (await answer.json())["statuses"][0]

    async def held(self, tenant):
        """What each counter of a tenant holds: what is missing of it, or by the time until it admits one again."""
        found = []
        for kind in KINDS:
            status = await self.json(kind, tenant, 0)
            if status["code"] == "OK":
                found.append(LIMIT - status.get("limitRemaining", 0))
            else:
                wait = float(status["durationUntilReset"].rstrip("s"))
                found.append(LIMIT - 1 + round(wait * LIMIT / YEAR))
        return tuple(found)

    async def held_after(self, tenant):
        """What the counters hold once Envoy has sent what it sends: a later answer of another tenant was recorded."""
        assert await self.ask("later", "json") == 200
        await until(self.recorded, "later")
        return await self.held(tenant)

    async def recorded(self, tenant):
        """Whether all reports of an answer have arrived."""
        return await self.held(tenant) == ALL

    async def metric(self, name):
        """A metric of the service, over all labels."""
        async with aiohttp.request("GET", f"http://{self.running.http}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0] == name)

    async def questions(self):
        """How many descriptors were asked for, with 0 or without hits."""
        passed = await self.metric("ratelimitd_questions_total")
        return passed + await self.metric("ratelimit_service_rate_limit_total_hits")

    async def left(self):
        """Whether Envoy knows that a client has left."""
        return await self.proxy.stat("downstream_cx_destroy_remote_active_rq")


async def until(condition, *arguments):
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE):
        while not await condition(*arguments):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def front(folder, filters="metadata", patience="30s"):
    """Run all of it; ``patience`` is Envoy's for a question, after which the request passes."""
    (folder / "policy.yaml").write_text(POLICY)
    async with model() as (upstream, address), service("--config", str(folder / "policy.yaml")) as running:
        with fault_proxy(running.grpc) as network:
            config = bootstrap(
                [network.address], address, list(routes(filters)), filters=FILTERS[filters], timeout=patience
            )
            async with envoy(config, folder) as proxy:
                yield Front(proxy, running, network, upstream)


@BOTH
@pytest.mark.parametrize("answer", ["json", "stream"])
async def test_an_answer_that_tells_its_usage(tmp_path, filters, answer):
    """Each report is recorded, once."""
    async with front(tmp_path, filters) as running:
        assert await running.ask("t", answer) == 200
        assert await running.held_after("t") == ALL


@BOTH
async def test_a_stream_without_usage(tmp_path, filters):
    """Costs what is fixed, or the substitute, and else nothing."""
    async with front(tmp_path, filters) as running:
        assert await running.ask("t", "silent") == 200
        assert await running.held_after("t") == (FIXED, 0, SUBSTITUTE)


@BOTH
async def test_an_upstream_that_fails(tmp_path, filters):
    """Costs what is fixed; an expression may say that it costs nothing."""
    async with front(tmp_path, filters) as running:
        assert await running.ask("t", "error") == 503
        assert await running.held_after("t") == (FIXED, 0, 0)


@BOTH
async def test_a_client_that_leaves_during_the_stream(tmp_path, filters):
    """What is fixed is recorded, and the substitute: without one, a cut stream is free."""
    async with front(tmp_path, filters) as running:
        async with running.asked("t", "held") as response:
            assert response.status == 200
            await response.content.readany()
        await until(running.left)
        assert await running.held_after("t") == (FIXED, 0, SUBSTITUTE)


async def test_a_request_that_is_denied(tmp_path):
    """Envoy reports what is fixed of a 429 too, and it is recorded past the limit; there is no usage."""
    async with front(tmp_path) as running:
        await running.json("fixed", "t", LIMIT + 10)
        assert await running.ask("t", "json") == 429
        assert await running.held_after("t") == (LIMIT + 10 + FIXED, 0, 0)


@pytest.mark.parametrize("fault", ["late", "lost"])
async def test_a_service_that_is_late_or_fails(tmp_path, fault):
    """The request passes unasked, and its answer is recorded in full when the service is back."""
    async with front(tmp_path, patience="0.5s") as running:
        if fault == "late":
            running.network.set(replies=Way(hold=True))
        else:
            running.network.set(connects="reset")
            running.network.reset()
        asking = asyncio.create_task(running.ask("t", "held"))
        async with asyncio.timeout(PATIENCE):
            await running.model.began.wait()
        running.network.heal()
        assert await running.proxy.stat("ratelimit.failure_mode_allowed") == 1
        running.model.goes_on.set()
        assert await asking == 200
        await until(running.recorded, "t")


@pytest.mark.parametrize(("path", "taken"), [(PATH, 0), ("/absent", 1)])
async def test_a_client_that_leaves_while_it_is_asked_for(tmp_path, path, taken):
    """Nothing is reported: a question costs nothing, and what absent hits took is not returned."""

    async def wait(running):
        async with running.asked("t", "json", path):
            pytest.fail("the service has not answered")

    async with front(tmp_path) as running:
        running.network.set(replies=Way(hold=True))
        asking = asyncio.create_task(wait(running))
        await until(lambda: reached(running))
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await until(running.left)
        running.network.heal()
        assert await running.held_after("t") == (taken,) * len(KINDS)


async def reached(running):
    """Whether all questions of a request have reached the service."""
    return await running.questions() == len(KINDS)
