"""The documents of one moment, compared with a count of what the engine answered, for random policies and requests."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.limiter import Failure, FailureKind, Modes
from ratelimitd.live import history
from ratelimitd.stores.memory import MemoryStore
from tests.live.watched import MIB, Watched

ALGORITHMS = ("fixed_window", "sliding_window", "sliding_window_counter", "token_bucket", "leaky_bucket", "gcra")
KINDS = ("allowed", "denied", "shadowed", "failed")
PATHS = {b"1:a": "a", b"1:b": "b", b"1:c": "c"}

LIMITS = st.tuples(st.sampled_from(ALGORITHMS), st.integers(1, 6), st.booleans(), st.sampled_from(["error", "allow"]))
CALLS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a=x", "a=y", "b=x", "b=z", "c=x"]), min_size=1, max_size=3, unique=True),
        st.integers(1, 3),
        st.sampled_from([0, 0, 0, 0, 1, 7, 13]),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


class Unsteady:
    """A store that is away for some calls."""

    def __init__(self):
        self.memory = MemoryStore(MIB)
        self.away = False

    def charge(self, asks, now, done):
        if not self.away:
            return self.memory.charge(asks, now, done)
        for ask in asks:
            ask.outcomes = [Failure(FailureKind.TIMEOUT, "no answer")] * len(ask.outcomes)
        return done(asks)


def policy_of(limits, atomic):
    rows = [
        f"- {{key: {key}, shadow_mode: {str(shadow).lower()}, rate_limit: {{unit: minute, requests_per_unit: {quota}, "
        f"algorithm: {algorithm}}}, on_store_failure: {policy}}}\n"
        for key, (algorithm, quota, shadow, policy) in zip("abc", limits, strict=True)
    ]
    return f"domain: d\nall_or_nothing: {str(atomic).lower()}\ndescriptors:\n{''.join(rows)}"


@given(st.tuples(LIMITS, LIMITS, LIMITS), CALLS, st.booleans(), st.sampled_from([Modes(), Modes(shadow=True)]))
@settings(max_examples=60, deadline=None)
def test_all_documents_agree_with_what_was_answered(limits, calls, atomic, modes):
    """Rows add up to all limits together, an hour to its total, keys and kinds to the hits that were sent.

    Requests are counted as they were answered.
    """
    store = Unsteady()
    watched = Watched(policy_of(limits, atomic), store=store, modes=modes)
    hits, answers = Counter(), Counter()
    for descriptors, cost, seconds, away in calls:
        watched.tick(seconds)
        store.away = away
        answer = watched.call(*descriptors, hits=cost)
        answers["over" if answer.over else "ok" if answer.failure is None else "failed"] += 1
        for descriptor in descriptors:
            hits[descriptor] += cost
    shown = {path: watched.limit(path) for path in PATHS}
    for path, key in PATHS.items():
        kept = {each["key"]: each["hour"]["hits"] for each in shown[path]["keys"]}
        assert kept == {name: number for name, number in hits.items() if name.startswith(key)}
    watched.tick(11)
    shown = {path: watched.limit(path) for path in PATHS}
    overview = watched.overview()
    for kind in KINDS:
        totals = [shown[path]["limit"]["totals"][kind] for path in PATHS]
        assert sum(totals) == overview["totals"][kind]
        assert [sum((shown[path]["history"] or {kind: [0]})[kind]) for path in PATHS] == totals
        steps = [(shown[path]["history"] or {kind: [0] * 360})[kind] for path in PATHS]
        assert [sum(step) for step in zip(*steps, strict=True)] == history(watched.view())[kind]
    decided = watched.live.decided
    assert decided == (answers["ok"], answers["over"], answers["failed"])
    if not atomic:
        for (path, key), limit in zip(PATHS.items(), limits, strict=True):
            counts = shown[path]["limit"]["totals"]
            undecided = counts["failed"] if limit[3] == "error" else 0
            sent = sum(number for name, number in hits.items() if name.startswith(key))
            lost = sent - undecided - counts["allowed"] - counts["denied"] - counts["shadowed"]
            assert lost >= 0  # of a denied request, the hits that would have fitted are in no count, as in metrics
            assert lost == 0 or any(cost > 1 for _, cost, _, _ in calls)
    rows = {row["id"]: row for row in watched.limits()["limits"]}
    assert all(rows[found["limit"]["id"]]["totals"] == found["limit"]["totals"] for found in shown.values())
