"""What each key of a policy file does to a decision: from the text of the file to the engine's answer."""

import pytest

from ratelimitd.algorithms import SECOND
from ratelimitd.limiter import (
    UNLIMITED,
    Engine,
    Failure,
    FailureKind,
    Fallback,
    LimitRequest,
    Planner,
    PlanOptions,
    Tallies,
    key_maker,
)
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor, assemble
from ratelimitd.policy_file import examine
from ratelimitd.stores.memory import MemoryStore

NOW = 1_000_000 * 3600
"""Seconds; the beginning of an hour."""
EITHER = pytest.mark.parametrize("form", ["rate_limit: {%s}", "rate_limits: [{%s}]"], ids=["rate_limit", "rate_limits"])
"""One limit, in both forms that a file may give it."""


class Lost:
    """A store that decides nothing."""

    def charge(self, asks, now, done):
        for ask in asks:
            ask.outcomes = [Failure(FailureKind.DISCONNECTED, "lost")] * len(ask.outcomes)
        done(asks)


class Decider:
    """Decides requests by the text of a policy file; ``tiers_file`` is the content of the file that it names."""

    def __init__(self, text, store=None, tiers_file=b""):
        parsed = examine([("p.yaml", text.encode())], beside=lambda *_: ("keys.yaml", tiers_file))
        assert parsed.errors == []
        self.tallies = Tallies()
        memory = MemoryStore(1 << 20)
        guards = [Fallback(memory, 1, lambda *_: None)]
        self._engine = Engine(memory if store is None else store, Counters(), guards)
        self._engine.planner = Planner(assemble(parsed.rows), key_maker(b"", safe=True), self.tallies, PlanOptions())

    def answer(self, *descriptors, at=0, hits=0, own=None, domain=b"d"):
        """Answer a request of these maps of entries, ``at`` seconds after ``NOW``; ``own``: hits of each of them."""
        entries = (tuple((k.encode(), v.encode()) for k, v in each.items()) for each in descriptors)
        made = tuple(Descriptor(each, hits=own) for each in entries)
        request, told = LimitRequest(domain, made, hits), []
        ask = self._engine.ask(b"%r" % (request,), lambda _: request)
        self._engine.decide((ask,), (NOW + at) * SECOND, lambda _, answer: told.append(answer), pytest.fail)
        (answer,) = told
        return answer

    def denied(self, *descriptors, **options):
        """Whether a request is over limit; None when it fails."""
        answer = self.answer(*descriptors, **options)
        return None if answer.failure is not None else answer.over


def limited(form, limit, more=""):
    """Decide by one descriptor of key ``k`` with this limit, and with what else the file says of it."""
    return Decider(f"domain: d\ndescriptors:\n- key: k\n  {form % limit}\n{more}")


K = {"k": "x"}
ONE = "rate_limit: {unit: hour, requests_per_unit: 1}"


def test_a_domain_limits_its_own_requests():
    """A request of another domain has no limit."""
    decider = Decider(f"domain: d\ndescriptors: [{{key: k, {ONE}}}]")
    assert [decider.denied(K) for _ in range(2)] == [False, True]
    assert [decider.denied(K, domain=b"e") for _ in range(2)] == [False, False]


def test_a_descriptor_limits_the_entries_with_its_key_and_value():
    """Another key has no limit, another value neither; nested descriptors limit the entries that follow."""
    decider = Decider(
        f"domain: d\ndescriptors: [{{key: k, value: v, {ONE}}}, {{key: n, descriptors: [{{key: m, {ONE}}}]}}]"
    )
    for limited_one, free in (({"k": "v"}, [{"k": "w"}, {"l": "v"}]), ({"n": "1", "m": "2"}, [{"n": "1"}, {"m": "2"}])):
        assert [decider.denied(limited_one) for _ in range(2)] == [False, True]
        assert [decider.denied(each) for each in free for _ in range(2)] == [False] * 4


def test_the_default_algorithm_counts_limits_that_name_none():
    """A fixed window starts anew with the hour, a sliding window of an hour does not."""
    found = []
    for algorithm in ("fixed_window", "sliding_window"):
        decider = limited("rate_limit: {%s}", "unit: hour, requests_per_unit: 1", f"default_algorithm: {algorithm}\n")
        found.append([decider.denied(K, at=3590), decider.denied(K, at=3600)])
    assert found == [[False, False], [False, True]]


@pytest.mark.parametrize("all_or_nothing", ["true", "false"])
def test_all_or_nothing_charges_no_limit_when_one_denies(all_or_nothing):
    """Without it, a limit that passes is charged although another one denies."""
    decider = Decider(
        f"domain: d\nall_or_nothing: {all_or_nothing}\ndescriptors:\n"
        f"- {{key: a, rate_limit: {{unit: hour, requests_per_unit: 2}}}}\n- {{key: b, {ONE}}}\n"
    )
    a, b = {"a": "x"}, {"b": "x"}
    assert [decider.denied(a, b) for _ in range(2)] == [False, True]
    assert decider.denied(a) is (all_or_nothing == "false")


IDENTITY = f"""
domain: d
identity: {{key: api_key, otherwise: client, ipv6_prefix: 48, %s}}
descriptors:
- {{key: api_key, value: gold, rate_limit: {{unit: hour, requests_per_unit: 2}}}}
- {{key: client, {ONE}}}
"""


@pytest.mark.parametrize("where", ["tiers: {gold: [secret]}", "tiers_file: keys.yaml"])
def test_an_identity_limits_known_keys_by_tier_and_others_by_address(where):
    """A key in ``tiers``, or in the ``tiers_file``, has its tier's limit; invented keys share that of ``otherwise``."""
    decider = Decider(IDENTITY % where, tiers_file=b"gold: [secret]")
    client = {"client": "192.0.2.1"}
    assert [decider.denied({"api_key": "secret", **client}) for _ in range(3)] == [False, False, True]
    assert [decider.denied({"api_key": f"invented {n}", **client}) for n in range(2)] == [False, True]
    assert not decider.denied({"api_key": "invented", "client": "192.0.2.2"})


def test_addresses_of_one_ipv6_prefix_are_one_caller():
    """Addresses share a counter when their first ``ipv6_prefix`` bits are equal, and only then."""
    decider = Decider(IDENTITY % "tiers: {gold: [secret]}")
    addresses = ("2001:db8:0:1::1", "2001:db8:0:2::2", "2001:db8:1::1")
    assert [decider.denied({"client": address}) for address in addresses] == [False, True, False]


@EITHER
@pytest.mark.parametrize(("charge", "passed"), [("after", 2), ("before", 12)])
def test_charge_says_whether_costs_are_reported_or_asked_for(form, charge, passed):
    """12 answers of 30, each asked for with 0, against 50: a report is recorded, a cost that is asked for refused."""
    decider = limited(form, f"unit: hour, requests_per_unit: 50, algorithm: token_bucket, charge: {charge}")
    assert answers(decider, K) == passed


@pytest.mark.parametrize(("charge", "passed"), [("after", 2), ("before", 12)])
def test_default_charge_is_that_of_limits_that_say_nothing(charge, passed):
    """A limit of its own word keeps it."""
    limit = "unit: hour, requests_per_unit: 50, algorithm: gcra"
    top = f"- {{key: o, rate_limit: {{{limit}, charge: after}}}}\ndefault_charge: {charge}\n"
    decider = limited("rate_limit: {%s}", limit, top)
    assert [answers(decider, K), answers(decider, {"o": "x"})] == [passed, 2]


@EITHER
@pytest.mark.parametrize(
    ("said", "passed"), [("amount: 10", 5), ("amount: auto, start: 20", 2), ("amount: 10, ttl: 60s", 5), ("", 2)]
)
def test_reserve_holds_a_part_of_the_limit_for_each_answer_in_progress(form, said, passed):
    """Its amount, what ``auto`` starts with, or half of the limit; until the ttl, 300 seconds if nothing is said."""
    decider = limited(form, f"unit: hour, requests_per_unit: 50, algorithm: gcra, reserve: {{{said}}}")
    ttl = 60 if "ttl" in said else 300
    for at in (0, ttl - 1, ttl):
        found = sum(not decider.denied(K, own=0, at=at) for _ in range(7))
        assert found == (0 if at == ttl - 1 else passed)


@EITHER
@pytest.mark.parametrize(("said", "ttl"), [("", 600), (", ttl: 20s", 20), (", ttl: 1m", 60)])
def test_concurrent_limits_requests_in_progress(form, said, ttl):
    """A place is free when its request has settled, and after the ttl at last."""
    decider = limited(form, f"concurrent: 2{said}")
    assert [decider.denied(K, own=own) for own in (0, None, 0)] == [False, False, True]
    decider.answer(K, own=5)
    assert [decider.denied(K, own=0, at=at) for at in (0, ttl - 1, *[ttl] * 3)] == [False, True, False, False, True]


def answers(decider, descriptor):
    """How many of 12 answers of 30 pass, each reported after the question."""
    passed = 0
    for _ in range(12):
        if not decider.denied(descriptor, own=0):
            passed += 1
            decider.answer(descriptor, own=30)
    return passed


def test_each_of_several_limits_may_deny():
    """The first limit denies a second request at once, the second one the third request after a minute."""
    decider = limited("rate_limits: [%s]", "{unit: minute, requests_per_unit: 1}, {unit: hour, requests_per_unit: 2}")
    assert [decider.denied(K, at=at) for at in (0, 1, 60)] == [False, True, True]


@pytest.mark.parametrize(
    "descriptor",
    [
        "shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}",
        "shadow_mode: true, rate_limits: [{unit: hour, requests_per_unit: 1}]",
        "rate_limits: [{unit: hour, requests_per_unit: 1, shadow_mode: true}]",
    ],
)
def test_a_shadow_limit_denies_no_request_and_is_counted(descriptor):
    """What it would have denied is in its metric."""
    decider = Decider(f"domain: d\ndescriptors: [{{key: k, {descriptor}}}]")
    assert [decider.denied(K) for _ in range(2)] == [False, False]
    assert [tally.shadow_mode for tally in decider.tallies] == [1]


@pytest.mark.parametrize(
    "descriptor",
    [
        "quota_mode: true, rate_limit: {unit: hour, requests_per_unit: %d}",
        "quota_mode: true, rate_limits: [{unit: hour, requests_per_unit: %d}]",
        "rate_limits: [{unit: hour, requests_per_unit: %d, quota_mode: true}]",
    ],
)
def test_quota_limits_deny_only_all_together(descriptor):
    """A request passes while one of its quota limits has requests left."""
    limits = ", ".join(f"{{key: {key}, {descriptor % count}}}" for key, count in (("a", 1), ("b", 2)))
    decider = Decider(f"domain: d\ndescriptors: [{limits}]")
    assert [decider.denied({"a": "x"}, {"b": "x"}) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("outer", "inner", "name"),
    [
        ("value_to_metric: false", "detailed_metric: false", ("d", "k", "l")),
        ("value_to_metric: true", "detailed_metric: false", ("d", "k_x", "l")),
        ("value_to_metric: false", "detailed_metric: true", ("d", "k_x", "l_y")),
    ],
)
def test_a_request_is_counted_under_the_name_that_the_flags_give(outer, inner, name):
    """value_to_metric adds the request's value at its own level, detailed_metric at every level."""
    decider = Decider(f"domain: d\ndescriptors: [{{key: k, {outer}, descriptors: [{{key: l, {inner}, {ONE}}}]}}]")
    decider.answer({"k": "x", "l": "y"})
    assert [(name, 1)] == [(tally.stat_key, tally.total_hits) for tally in decider.tallies]


@pytest.mark.parametrize("share", ["true", "false"])
def test_share_threshold_gives_all_values_of_a_wildcard_one_counter(share):
    """Without it, each value has its own."""
    decider = Decider(f"domain: d\ndescriptors: [{{key: k, value: 'a*', share_threshold: {share}, {ONE}}}]")
    assert [False, share == "true"] == [decider.denied({"k": value}) for value in ("a1", "a2")]


ON_FAILURE = {"error": [None, None], "allow": [False, False], "deny": [True, True], "local": [False, True]}
"""Whether the first two requests are denied, of which the limit allows one; None: they fail."""


@pytest.mark.parametrize(
    "descriptor",
    [
        "on_store_failure: %s, rate_limit: {unit: hour, requests_per_unit: 1}",
        "on_store_failure: %s, rate_limits: [{unit: hour, requests_per_unit: 1}]",
        "rate_limits: [{unit: hour, requests_per_unit: 1, on_store_failure: %s}]",
    ],
)
@pytest.mark.parametrize("policy", ON_FAILURE)
def test_on_store_failure_decides_while_the_store_is_lost(descriptor, policy):
    """error fails the request, allow passes it, deny denies it, local counts it in this process."""
    decider = Decider(f"domain: d\ndescriptors: [{{key: k, {descriptor % policy}}}]", Lost())
    assert ON_FAILURE[policy] == [decider.denied(K) for _ in range(2)]


UNITS = {"second": 1, "minute": 60, "hour": 3600}


@EITHER
@pytest.mark.parametrize("unit", UNITS)
def test_a_limit_allows_its_requests_per_unit(form, unit):
    """Two requests pass, the third is denied until the unit is over."""
    decider = limited(form, f"unit: {unit}, requests_per_unit: 2")
    assert [decider.denied(K) for _ in range(3)] == [False, False, True]
    assert not decider.denied(K, at=UNITS[unit])


def test_an_unlimited_limit_never_denies():
    """Its status says that the largest possible number of requests remains."""
    decider = limited("rate_limit: {%s}", "unlimited: true")
    answer = decider.answer(K, hits=1_000_000)
    assert (answer.over, answer.statuses) == (False, (UNLIMITED,))


@EITHER
def test_a_limit_replaces_the_one_with_a_name(form):
    """The replaced limit of a request neither denies it nor is charged."""
    better = form % "unit: hour, requests_per_unit: 9, replaces: [{name: base}]"
    base = "unit: hour, requests_per_unit: 1, name: base"
    decider = limited(form, base, f"- key: better\n  {better}\n")
    assert [decider.denied(K, {"better": "x"}) for _ in range(3)] == [False] * 3
    assert [decider.denied(K) for _ in range(2)] == [False, True]


@EITHER
def test_a_limit_counts_by_its_own_algorithm(form):
    """A sliding window of an hour does not start anew with the hour, whatever the default."""
    decider = limited(form, "unit: hour, requests_per_unit: 1, algorithm: sliding_window")
    assert [decider.denied(K, at=at) for at in (3590, 3600)] == [False, True]


@EITHER
def test_a_burst_passes_at_once(form):
    """A bucket of 3 that is filled once an hour takes three requests, and then one an hour."""
    decider = limited(form, "unit: hour, requests_per_unit: 1, burst: 3, algorithm: token_bucket")
    assert [decider.denied(K) for _ in range(4)] == [False, False, False, True]
    assert [decider.denied(K, at=3600) for _ in range(2)] == [False, True]


@EITHER
def test_a_unit_multiplier_makes_the_window_longer(form):
    """With 2, one request in two minutes: the next minute brings none."""
    decider = limited(form, "unit: minute, requests_per_unit: 1, unit_multiplier: 2")
    assert [decider.denied(K, at=at) for at in (0, 60, 120)] == [False, True, False]


@EITHER
@pytest.mark.parametrize("counted", ["true", "false"])
def test_a_rejected_request_is_charged_where_count_rejected_says_so(form, counted):
    """A cost of 3 does not fit after one of 4 of 5; a cost of 1 does, unless the 3 were charged."""
    decider = limited(form, f"unit: hour, requests_per_unit: 5, count_rejected: {counted}")
    assert [False, True, counted == "true"] == [decider.denied(K, hits=hits) for hits in (4, 3, 1)]
