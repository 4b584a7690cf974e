"""How many series a scrape has, whatever values requests bring."""

import pytest

from ratelimitd.app.exposition import service_families
from ratelimitd.limiter import Engine, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.observe.metrics import Counters, render
from ratelimitd.policy_file import parse
from ratelimitd.proto import message
from ratelimitd.rls import RateLimitService, ServiceOptions
from ratelimitd.stores.memory import MemoryStore

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")

POLICY = b"""
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: path, value: "/a/*", rate_limits: [{unit: hour, requests_per_unit: 2}, {unit: day, requests_per_unit: 5}]}
  - {key: valued, value_to_metric: true, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: detailed, detailed_metric: true, rate_limit: {unit: hour, requests_per_unit: 2}}
"""
MADE_BY_REQUESTS = 20
ROUND = 200
"""Values that are new in each round, more than any cap here."""


class Call:
    deadline = 0
    answered = False

    def __init__(self, body):
        self.body = body

    def respond(self, _body):
        """The answer does not matter here."""

    def fail(self, _status, text):
        raise AssertionError(text)


class Rig:
    """A service and its scrape."""

    def __init__(self, request_made=MADE_BY_REQUESTS):
        self.tallies, self.counters = Tallies(request_made), Counters()
        engine = Engine(MemoryStore(1 << 20), self.counters)
        policy = parse([("p.yaml", POLICY)])
        engine.planner = Planner(policy, key_maker(b"", safe=True), self.tallies, PlanOptions())
        self.service = RateLimitService(engine, self.tallies, self.counters.called, ServiceOptions())

    def ask(self, key, value, domain="d", override=False, more=()):
        """Ask four times, past every limit, so that each counter counts; returns the size of a request."""
        request = Request(domain=domain)
        built = request.descriptors.add()
        for name, text in ((key, value), *more):
            built.entries.add(key=name, value=text)
        if override:
            built.limit.requests_per_unit, built.limit.unit = 3, 3
        body = request.SerializeToString()
        for _ in range(4):
            self.service.should_rate_limit([Call(body)])
        return len(body)

    async def text(self):
        families = service_families(self.counters, self.tallies.unknown_domains)
        return b"".join([chunk async for chunk in render(self.tallies, families)]).decode()

    async def series(self):
        return {line.rpartition(" ")[0] for line in (await self.text()).splitlines() if line.startswith("ratelimit")}


async def test_values_of_requests_make_no_series():
    """Thousands of values, keys and addresses of requests leave the series those of the policy's own names."""
    rig = Rig()
    rig.ask("user", "first")
    rig.ask("path", "/a/first")
    before = await rig.series()
    for number in range(ROUND):
        rig.ask("user", f"new-{number}")
        rig.ask("path", f"/a/new-{number}")
        rig.ask(f"new-{number}", "x")
    assert before == await rig.series()
    assert not any("new-" in series for series in before)


async def test_series_that_requests_may_make_end_at_their_cap():
    """Where a value, an override or an unknown domain becomes a name, a second flood of new ones adds no series."""
    rig = Rig()

    async def flood(start):
        for number in range(start, start + ROUND):
            rig.ask("valued", f"new-{number}")
            rig.ask("detailed", f"new-{number}")
            rig.ask(f"new-{number}", "x", override=True)
            rig.ask("user", "x", domain=f"new-{number}")
        return await rig.series()

    first = await flood(0)
    assert first == await flood(ROUND)
    assert (
        0
        < len({series for series in first if "new-" in series and "domain_not_found" not in series})
        <= (MADE_BY_REQUESTS * 6)
    )


@pytest.mark.scenario("a caller that invents metric series")
@pytest.mark.parametrize(("size", "share"), [(256, 1_000), (7, 0.5)])
async def test_long_names_of_overrides_make_no_long_page(size, share):
    """Overrides of 32 entries: of 256 characters each they are one series; of 7, a page of twice what was sent."""
    rig = Rig(10_000)
    sent = 0
    for number in range(1_000):
        more = [(f"{number}-{depth}"[:size].ljust(size, "x"), "") for depth in range(31)]
        sent += 4 * rig.ask(f"{number}".ljust(size, "x"), "", override=True, more=more)
    page = sum(len(line) for line in (await rig.text()).splitlines() if not line.startswith("#"))
    assert page <= sent / share
    assert (len(rig.tallies) == 1) == (size == 256)
