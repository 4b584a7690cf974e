"""ENABLE_NEGATIVE_HITS=false: no caller gives hits back."""

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.limiter import Ask, Engine, LimitRequest, NoGiveBacks, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

NOW = 1_000_000_000_000
ENTRIES = ((b"a", b"1"),)


def left(algorithm, guards, *costs):
    """What remains of 10 after each of these costs."""
    text = f"domain: d\ndefault_algorithm: {algorithm}\ndescriptors:\n"
    text += "  - {key: a, rate_limit: {unit: year, requests_per_unit: 10}}\n"
    planner = Planner(parse([("p.yaml", text.encode())]), key_maker(b"", safe=True), Tallies(), PlanOptions())
    engine, seen = Engine(MemoryStore(), Counters(), guards), []
    for cost in costs:
        descriptor = Descriptor(ENTRIES, hits=abs(cost), negative=cost < 0)
        plan = planner.plan(LimitRequest(b"d", (descriptor,)))
        engine.decide(
            [Ask(plan, list(plan.costs))],
            NOW,
            lambda _, answer: seen.append(answer.statuses[0].remaining),
            lambda _, error: seen.append(error),
        )
    return seen


def test_a_give_back_neither_gives_nor_takes():
    """By any algorithm it is a peek; without the guard it gives back."""
    for algorithm in ALGORITHMS:
        assert left(algorithm, [NoGiveBacks(lambda _: None)], 3, -2, -9, 1) == [7, 7, 7, 6]
        assert left(algorithm, [], 3, -2, 1) == [7, 9, 8]


def test_give_backs_are_counted_and_the_first_is_told():
    """Once, however many follow; charges and peeks are neither."""
    told = []
    guard = NoGiveBacks(told.append)
    left("fixed_window", [guard], 3, 0)
    assert (guard.refused, told) == (0, [])
    left("fixed_window", [guard], 3, -2, -1)
    assert guard.refused == 2
    assert [ask.plan.request.domain for ask in told] == [b"d"]
