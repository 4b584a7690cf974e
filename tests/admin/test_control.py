"""What the admin API tells of a key, and what a reset leaves, over the counters of memory."""

import json

import pytest
from structlog.testing import capture_logs

from ratelimitd.admin.control import Control, key_page, policy_page, reset_page
from ratelimitd.admin.http import PageRequest
from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.limiter import (
    Ask,
    Failure,
    FailureKind,
    LimitRequest,
    OverLimitCache,
    Planner,
    PlanOptions,
    Tallies,
    key_maker,
)
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND

POLICY = """\
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 3, algorithm: token_bucket}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 3}}
  - key: several
    rate_limits:
      - {name: short, unit: minute, requests_per_unit: 5, burst: 9, algorithm: gcra}
      - {unit: day, requests_per_unit: 100, algorithm: sliding_window_counter}
"""


class Rig:
    """A service's insides: charge it, and ask its admin API."""

    def __init__(self, text=POLICY, store=None, fallback=None):
        self.now, self.tallies = NOW, Tallies()
        self.store = MemoryStore() if store is None else store
        self.cache = OverLimitCache(1 << 20)
        self.planner = Planner(parse([("p.yaml", text.encode())]), key_maker(b"", safe=False), Tallies(), PlanOptions())
        self.control = Control(
            read=lambda body: LimitRequest(b"d", (Descriptor(((b"user", body),), hits=2),)),
            plan=lambda asked: self.planner and self.planner.plan(asked),
            policy=lambda: self.planner and self.planner.policy,
            store=self.store,
            where="memory",
            cache=self.cache,
            fallback=fallback,
            clock=lambda: self.now,
        )

    def charge(self, cost=1, store=None, **entries):
        """Charge one descriptor as the engine does, and let the cache learn; returns the outcomes."""
        pairs = tuple((key.encode(), value.encode()) for key, value in entries.items())
        plan = self.planner.plan(LimitRequest(b"d", (Descriptor(pairs),)))
        ask = Ask(plan, [cost] * len(plan.charges))
        self.cache.before([ask], self.now)
        (self.store if store is None else store).charge([ask], self.now, lambda _: None)
        self.cache.after([ask], self.now)
        return ask.outcomes

    async def ask(self, query="", method="GET", body=b""):
        handler = reset_page(self.control) if method == "DELETE" else key_page(self.control)
        response = await handler(PageRequest(method, "/admin/key", {}, {}, body, "127.0.0.1", query))
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, json.loads(response.body)

    async def limits(self, query, method="GET"):
        status, told = await self.ask(query, method)
        assert status == 200
        return [limit for each in told["descriptors"] for limit in each["limits"]]


@pytest.mark.parametrize(
    ("top", "limit", "told"),
    [
        ("", "", {}),
        ("", ", charge: after", {"charge": "after"}),
        ("default_charge: before\n", "", {"charge": "before"}),
        ("default_charge: before\n", ", reserve: {}", {"reserve": "auto", "ttl": "300s"}),
    ],
)
async def test_a_limit_is_told_with_when_its_costs_come(top, limit, told):
    """Where the policy says it, in the limit or for its domain."""
    rig = Rig(f"domain: d\n{top}descriptors:\n- {{key: k, rate_limit: {{unit: day, requests_per_unit: 50{limit}}}}}\n")
    (found,) = await rig.limits("domain=d&descriptor=k=v")
    assert {key: found[key] for key in ("charge", "reserve", "ttl") if key in found} == told


async def test_a_key_is_told_with_all_its_limits():
    """Each with its numbers, the name of its counter, and what it holds, in the order of the file."""
    rig = Rig()
    rig.charge(cost=2, several="x")
    status, told = await rig.ask("domain=d&descriptor=several=x&descriptor=free=&descriptor=none=")
    assert status == 200
    assert (told["domain"], told["store"]) == ("d", "memory")
    several, free, none = told["descriptors"]
    assert several["limits"][0] == {
        "limit": "short",
        "counter": "rl1:gcra:60000000:1:d5:short7:several1:x_",
        "where": {"file": "p.yaml", "line": 8},
        "algorithm": "gcra",
        "quota": 5,
        "window_seconds": 60,
        "burst": 9,
        "shadow_mode": False,
        "quota_mode": False,
        "enforced": True,
        "on_store_failure": "error",
        "cost": 1,
        "remembered_denial": None,
        "allowed": True,
        "used": 2,
        "remaining": 7,
        "reset_after_seconds": 24,
    }
    assert [(limit["limit"], limit["where"]["line"]) for limit in several["limits"]] == [("short", 8), ("1", 9)]
    assert (free["descriptor"], free["unlimited"], free["limits"]) == ("free=", True, [])
    assert (none["descriptor"], none["unlimited"], none["limits"]) == ("none=", False, [])


class Reloading(MemoryStore):
    """A store, while whose answer is awaited a reload takes the policy apart."""

    def __init__(self):
        super().__init__()
        self.before = lambda: None

    def charge(self, asks, now, done):
        self.before()
        return super().charge(asks, now, done)


async def test_a_place_is_told_of_the_policy_by_which_the_key_was_planned():
    """A reload during the look-up neither ends it nor gives its limits places of another policy."""
    store = Reloading()
    rig = Rig(store=store)

    def replace():
        planner, rig.planner = rig.planner, None
        planner.policy.domains[b"d"].root.children.clear()

    store.before = replace
    (limit,) = await rig.limits("domain=d&descriptor=user=x")
    assert limit["where"] == {"file": "p.yaml", "line": 3}


async def test_a_hundred_looks_charge_nothing():
    """What remains is what remained, for every algorithm."""
    rig = Rig("domain: d\ndescriptors:\n" + "".join(f"  - {LINE.format(name)}\n" for name in ALGORITHMS))
    for name in ALGORITHMS:
        rig.charge(cost=4, **{name: "x"})
        query = f"domain=d&descriptor={name}=x"
        told = [(await rig.limits(query))[0] for _ in range(100)]
        assert [(limit["used"], limit["remaining"]) for limit in told] == [(4, 6)] * 100
        (after,) = rig.charge(cost=1, **{name: "x"})
        assert (after.before, after.remaining) == (4, 5)


async def test_a_look_leaves_nothing_behind():
    """A key that was never charged has no counter afterwards, and the cache knows nothing of it."""
    rig = Rig()
    before = len(rig.store), len(rig.cache), rig.store.bytes
    await rig.limits("domain=d&descriptor=user=x&descriptor=several=y")
    assert before == (len(rig.store), len(rig.cache), rig.store.bytes)


async def test_allowed_is_what_a_request_of_that_cost_would_be_told():
    """The costs are those of the request that is asked about."""
    rig = Rig()
    for used, one, two in [(0, True, True), (2, True, False), (3, False, False)]:
        rig.charge(cost=used - rig.charge(cost=0, user="x")[0].before, user="x")
        (told,) = await rig.limits("domain=d&descriptor=user=x")
        _, body = await rig.ask(method="POST", body=b"x")
        assert (one, two) == (told["allowed"], body["descriptors"][0]["limits"][0]["allowed"])
        assert (told["cost"], body["descriptors"][0]["limits"][0]["cost"]) == (1, 2)


async def test_a_remembered_denial_is_told_beside_the_counter():
    """Somebody gave back elsewhere: the counter would allow, and this process still denies."""
    rig = Rig()
    rig.charge(cost=3, user="x")
    rig.charge(cost=1, user="x")
    (told,) = await rig.limits("domain=d&descriptor=user=x")
    assert (told["remembered_denial"], told["allowed"]) == ({"cost": 1, "for_seconds": 1200}, False)
    plan = rig.planner.plan(LimitRequest(b"d", (Descriptor(((b"user", b"x"),)),)))
    rig.store.charge([Ask(plan, [-2])], rig.now, lambda _: None)
    (told,) = await rig.limits("domain=d&descriptor=user=x")
    assert (told["remaining"], told["allowed"]) == (2, False)
    rig.now += 1200 * SECOND
    (told,) = await rig.limits("domain=d&descriptor=user=x")
    assert (told["remembered_denial"], told["allowed"]) == (None, True)


async def test_shadow_limits_are_told_as_such():
    """Whether a limit is enforced is the first thing an operator asks."""
    (told,) = await Rig().limits("domain=d&descriptor=shadow=x")
    assert (told["shadow_mode"], told["enforced"]) == (True, False)


LINE = "{{key: {0}, rate_limit: {{unit: day, requests_per_unit: 10, algorithm: {0}}}}}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_reset_leaves_a_counter_as_if_it_had_never_been(algorithm):
    """Nothing is kept of it, and the whole burst is there again; the denial that was remembered is forgotten."""
    rig = Rig(f"domain: d\ndescriptors:\n  - {LINE.format(algorithm)}\n")
    rig.charge(cost=10, **{algorithm: "x"})
    rig.charge(cost=3, **{algorithm: "other"})
    assert not rig.charge(cost=1, **{algorithm: "x"})[0].allowed
    counters = len(rig.store)
    (told,) = await rig.limits(f"domain=d&descriptor={algorithm}=x", "DELETE")
    used = 11 if algorithm == "fixed_window" else 10  # where what was rejected counts too
    assert {"reset": True, "used_before": used, "remaining": 10} == {name: told[name] for name in told if name in KEPT}
    assert (counters - 1, 0) == (len(rig.store), len(rig.cache))
    anew = rig.charge(cost=10, **{algorithm: "x"})[0]
    assert (anew.allowed, anew.remaining) == (True, 0)
    assert rig.charge(cost=0, **{algorithm: "other"})[0].before == 3


KEPT = {"reset", "used_before", "remaining"}


async def test_a_reset_empties_what_no_cost_could_give_back():
    """Rejected costs count in a fixed window, past the largest cost; two full windows are more than one cost too."""
    most = (1 << 32) - 1
    lines = "".join(
        f"  - {{key: {name}, rate_limit: {{unit: minute, requests_per_unit: {most}, algorithm: {name}}}}}\n"
        for name in ("fixed_window", "sliding_window_counter")
    )
    rig = Rig(f"domain: d\ndescriptors:\n{lines}")
    for name in ("fixed_window", "sliding_window_counter"):
        rig.now = NOW - NOW % (60 * SECOND)
        for _ in range(3):
            rig.charge(cost=most, **{name: "x"})
        if name == "sliding_window_counter":
            rig.now += 90 * SECOND
            rig.charge(cost=most // 2, **{name: "x"})
        await rig.limits(f"domain=d&descriptor={name}=x", "DELETE")
        anew = rig.charge(cost=most, **{name: "x"})[0]
        assert (anew.allowed, anew.remaining, len(rig.cache)) == (True, 0, 0)


async def test_a_reset_empties_this_processs_own_counters_too():
    """Those of on_store_failure: local; and says that other processes have their own."""
    fallback = MemoryStore()
    rig = Rig(fallback=fallback)
    rig.charge(cost=3, store=fallback, user="x")
    status, told = await rig.ask("domain=d&descriptor=user=x", "DELETE")
    assert (status, len(fallback)) == (200, 0)
    assert "other processes" in told["note"]
    assert "note" not in (await Rig().ask("domain=d&descriptor=user=x", "DELETE"))[1]


async def test_a_reset_by_body_is_of_the_same_key():
    """DELETE takes what POST takes."""
    rig = Rig()
    rig.charge(cost=3, user="x")
    assert (await rig.ask(method="DELETE", body=b"x"))[0] == 200
    assert len(rig.store) == 0


async def test_a_reset_is_logged():
    """Who asked, and what was emptied, at a level that upstream's default shows."""
    with capture_logs() as logs:
        await Rig().ask("domain=d&descriptor=user=x", "DELETE")
    (entry,) = logs
    assert (entry["event"], entry["log_level"], entry["peer"]) == ("counters reset", "warning", "127.0.0.1")
    assert entry["descriptors"] == ["user=x"]
    assert entry["counters"] == ["rl1:token_bucket:3600000000:1:d0:4:user1:x_"]


async def test_a_look_is_not_logged():
    """Dashboards may look every second."""
    with capture_logs() as logs:
        await Rig().ask("domain=d&descriptor=user=x")
    assert logs == []


async def test_a_policy_of_identities_shows_tiers_and_no_api_key():
    """Neither an answer nor the log of a reset holds what a caller is known by."""
    rig = Rig(
        "domain: d\nidentity: {key: key, tiers: {gold: [canary]}}\n"
        "descriptors: [{key: key, value: gold, rate_limit: {unit: day, requests_per_unit: 3}}]\n"
    )
    with capture_logs() as logs:
        for method in ("GET", "DELETE"):
            status, told = await rig.ask("domain=d&descriptor=key=canary", method)
            assert (status, told["descriptors"][0]["descriptor"]) == (200, "key=gold")
            assert "canary" not in str(told)
    assert "canary" not in str(logs)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("query", "error", "tried"),
    [
        ("domain=shop&descriptor=user=x", "does not define this domain", {"domain": "shop", "descriptors": ["user=x"]}),
        (
            "domain=d&descriptor=a=%ff&descriptor=b=2,c=3",
            "no limit of the policy applies",
            {"domain": "d", "descriptors": ["a=\\\\xff", "b=2,c=3"]},
        ),
    ],
)
async def test_a_key_without_limits_is_404_with_what_was_tried(method, query, error, tried):
    """As the service understood it."""
    status, told = await Rig().ask(query, method)
    assert (404, tried) == (status, told["tried"])
    assert error in told["error"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_names_no_key_is_400(method):
    """With what to write."""
    status, told = await Rig().ask("domain=d", method)
    assert status == 400
    assert "0 descriptors" in told["error"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_without_a_policy_it_is_503(method):
    """There are no limits to look at yet."""
    rig = Rig()
    rig.planner = None
    assert await rig.ask("domain=d&descriptor=user=x", method) == (503, {"error": "no policy is loaded yet"})


class Broken:
    """A store that reaches one counter of two."""

    def charge(self, asks, now, done):
        for ask in asks:
            MemoryStore().charge(asks, now, lambda _: None)
            ask.outcomes[0] = Failure(FailureKind.DISCONNECTED, "gone")
        done(asks)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_counter_that_cannot_be_reached_is_503_with_the_kind(method):
    """Told for that limit and for the whole; what is known of the others is told too."""
    rig = Rig(store=Broken())
    status, told = await rig.ask("domain=d&descriptor=several=x", method)
    assert (status, told["kind"], told["error"]) == (503, "disconnected", "gone")
    first, second = told["descriptors"][0]["limits"]
    assert first["failure"] == {"kind": "disconnected", "message": "gone"}
    assert "allowed" not in first
    assert second["remaining"] == 100
    if method == "DELETE":
        assert (first["reset"], second["reset"]) == (False, True)


async def test_a_lost_counter_of_a_local_limit_is_told_as_this_process_counts_it():
    """Its share of the limit, as it decides by; a limit with another policy has no such counter."""
    fallback = MemoryStore()
    text = POLICY.replace("{key: user,", "{key: user, on_store_failure: local,").replace("_unit: 3,", "_unit: 6,")
    rig = Rig(text, store=Broken(), fallback=fallback)
    rig.control = rig.control._replace(replicas=2)
    shares = Rig(text.replace("_unit: 6,", "_unit: 3,"))
    shares.charge(cost=2, store=fallback, user="x")
    status, told = await rig.ask("domain=d&descriptor=user=x")
    (limit,) = told["descriptors"][0]["limits"]
    assert (status, limit["failure"]["kind"], limit["quota"]) == (503, "disconnected", 6)
    assert limit["local"] == {"allowed": True, "used": 2, "remaining": 1, "reset_after_seconds": 2400.0}
    _, told = await rig.ask("domain=d&descriptor=several=x")
    assert not any("local" in limit for limit in told["descriptors"][0]["limits"])


IN_FORCE = {
    "generation": 3,
    "version": "abc",
    "source": "/srv",
    "files": 2,
    "domains": 1,
    "limits": 4,
    "warnings": ("careless",),
    "refused": (),
    "age_seconds": 12.5,
}


async def policy_of(in_force, **headers):
    response = await policy_page(lambda: in_force)(PageRequest("GET", "/admin/policy", {}, headers, b""))
    return response.status, response.body, response.headers["ETag"]


async def test_the_policy_is_told_with_version_and_age():
    """And where it is from, how much it holds, and what there is to say of it."""
    status, body, _ = await policy_of(IN_FORCE)
    assert status == 200
    assert json.loads(body) == {
        "generation": 3,
        "version": "abc",
        "age_seconds": 12.5,
        "source": "/srv",
        "files": 2,
        "domains": 1,
        "limits": 4,
        "warnings": ["careless"],
        "refused": [],
    }


async def test_the_policys_etag_is_one_until_it_changes():
    """Time alone changes nothing; a reload does, and so does one that was refused."""
    _, _, etag = await policy_of(IN_FORCE)
    assert (304, b"", etag) == await policy_of(IN_FORCE | {"age_seconds": 99}, **{"If-None-Match": etag})
    for changed in (IN_FORCE | {"generation": 4}, IN_FORCE | {"refused": ("bad",)}):
        status, _, other = await policy_of(changed, **{"If-None-Match": etag})
        assert status == 200
        assert etag != other
