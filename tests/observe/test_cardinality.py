"""How many series a scrape has, whatever values requests bring."""

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

    def __init__(self, body):
        self.body = body

    def respond(self, _body):
        """The answer does not matter here."""

    def fail(self, _status, text):
        raise AssertionError(text)


class Rig:
    """A service and its scrape."""

    def __init__(self):
        self.tallies, self.counters = Tallies(MADE_BY_REQUESTS), Counters()
        engine = Engine(MemoryStore(1 << 20), self.counters)
        policy = parse([("p.yaml", POLICY)])
        engine.planner = Planner(policy, key_maker(b"", safe=True), self.tallies, PlanOptions())
        self.service = RateLimitService(engine, self.tallies, self.counters.called, ServiceOptions())

    def ask(self, key, value, domain="d", override=False):
        request = Request(domain=domain)
        built = request.descriptors.add()
        built.entries.add(key=key, value=value)
        if override:
            built.limit.requests_per_unit, built.limit.unit = 3, 3
        for _ in range(4):  # past every limit, so that each counter counts
            self.service.should_rate_limit([Call(request.SerializeToString())])

    async def series(self):
        families = service_families(self.counters, self.tallies.unknown_domains)
        text = b"".join([chunk async for chunk in render(self.tallies, families)]).decode()
        return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("ratelimit")}


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
