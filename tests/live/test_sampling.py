"""Under load a sample is seen: bounded in number, right on average, and exact again once there is little."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.live.budget import Budget
from ratelimitd.live.keys import Keys
from ratelimitd.live.pace import OF_ALL, OF_ONE, Chance, Pace
from ratelimitd.live.shown import Part
from ratelimitd.live.sketch import Sketch
from ratelimitd.live.windows import HOUR, MINUTE, TEN_MINUTES, Windows
from tests.live.watched import SECOND, Watched, minute

USER = b"4:user"
POLICY = """
domain: d
descriptors:
- {key: user, rate_limit: {unit: second, requests_per_unit: 1000000}}
- {key: zero, rate_limit: {unit: second, requests_per_unit: 0}}
"""


class Counting(Watched):
    """Counts what the model is shown, by seconds."""

    def __init__(self, policy):
        super().__init__(policy)
        self.seen = Counter()
        self.engine.watcher = self

    def hits(self, ask, index, now):
        self.seen[("hits", now // SECOND)] += 1
        self.live.hits(ask, index, now)

    def denied(self, ask, index, now):
        self.seen[("denied", now // SECOND)] += 1
        self.live.denied(ask, index, now)


def load(watched, seconds, rate, name):
    for _ in range(seconds):
        for number in range(rate):
            watched.call(name(number))
        watched.tick()


def test_samples_a_second_are_bounded_and_right_on_average():
    """10,000 hits a second on one limit are some hundred samples, and keys that take turns are all seen as they are."""
    watched = Counting(POLICY)
    load(watched, 8, 10_000, lambda number: f"user=u{number % 4}")
    assert max(watched.seen.values()) < OF_ONE * 12
    assert max(seen for (_, second), seen in watched.seen.items() if second > min(watched.seen)[1] + 1) <= 4 * OF_ONE
    keys = watched.limit(USER)["keys"]
    assert len(keys) == 4
    for key in keys:
        assert key["minute"]["hits"] == pytest.approx(20_000, rel=0.35)
    assert sum(key["minute"]["hits"] for key in keys) == pytest.approx(80_000, rel=0.2)
    assert watched.limit(USER)["limit"]["totals"]["allowed"] == 80_000


def test_denials_have_a_pace_of_their_own():
    """Five denials among 20,000 hits a second are all seen."""
    watched = Counting(POLICY)
    load(watched, 2, 5_000, lambda number: "user=x")
    for _ in range(5):
        watched.call("zero=y")
    load(watched, 1, 5_000, lambda number: "user=x")
    assert minute(watched.limit(b"4:zero"), "zero=y")[1] == 5
    assert watched.denials()[0]["count"] == 5


def test_it_is_exact_again_after_a_load():
    """Some seconds later, five requests are five."""
    watched = Counting(POLICY)
    load(watched, 3, 5_000, lambda number: "user=x")
    watched.tick(70)
    for _ in range(5):
        watched.call("user=x")
    assert minute(watched.limit(USER), "user=x") == (5, 0)


def test_many_limits_together_have_one_pace():
    """Hits of thousands of limits are not thousands of samples."""
    watched = Counting(
        "domain: d\ndescriptors:\n"
        + "".join([f"- {{key: k{n}, rate_limit: {{unit: day, requests_per_unit: 1}}}}\n" for n in range(300)])
    )
    load(watched, 5, 6_000, lambda number: f"k{number % 300}=x")
    last = max(second for _, second in watched.seen)
    assert watched.seen[("hits", last)] <= 3 * OF_ALL
    assert watched.seen[("denied", last)] <= 3 * OF_ALL


@pytest.mark.parametrize("gap", [1, 2, 16, 1024])
def test_distances_are_as_long_as_the_gap_on_average(gap):
    """So each hit is seen with the probability 1/gap; every hit with a gap of 1."""
    chance = Chance(7)
    drawn = [chance.distance(gap) for _ in range(20_000)]
    assert min(drawn) == 1
    assert sum(drawn) / len(drawn) == pytest.approx(gap, rel=0.03)


@pytest.mark.parametrize("costs", [[1], [3, 1], [1, 1, 1, 100], [5000, 1]])
def test_costs_are_right_on_average(costs):
    """Whatever the costs of those that take turns: the sum of the weights is that of the hits."""
    from ratelimitd.live.pace import weight

    chance, gap = Chance(3), 64
    totals = [0] * len(costs)
    total, due = 0, chance.distance(gap)
    rounds = 40_000
    for _ in range(rounds):
        for who, cost in enumerate(costs):
            total += cost
            if total >= due:
                totals[who] += weight(total, due, gap)
                due = total + chance.distance(gap)
    for who, cost in enumerate(costs):
        assert totals[who] == pytest.approx(rounds * cost, rel=0.15)


def test_the_gap_halves_as_seconds_pass_and_survives_the_clock():
    """Also when the clock steps back, by which nothing becomes negative."""
    pace = Pace(2)
    for _ in range(8):
        pace.sampled(100)
    assert pace.gap == 16
    pace.ease(101)
    assert pace.gap == 8
    pace.ease(50)
    assert pace.gap == 4
    pace.ease(500)
    assert pace.gap == 1


PARTS = (Part(b"k", b"v", 1),)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 50)), max_size=300), st.integers(1, 12))
def test_space_saving_keeps_its_bound(stream, places):
    """A key with more than N/m of the hits is listed, and counted too high by its error at most, never too low."""
    keys = Keys(Budget(1 << 20))
    true = Counter()
    for name, amount in stream:
        if keys.add(b"%d" % name, amount, 0) is None:
            keys.enter(b"%d" % name, PARTS, amount, 0, places)
        true[b"%d" % name] += amount
    bound = sum(true.values()) / places
    assert len(keys.listed) <= places
    for name, count in true.items():
        key = keys.listed.get(name)
        if key is None:
            assert count <= keys.floor <= bound
        else:
            assert key.count - key.error <= count <= key.count
            assert key.error <= bound


def test_windows_are_the_sums_of_their_time():
    """Against a list of all hits: the last minute, ten minutes and hour, each with the part of a slot that is now."""
    source = random.Random(5)
    windows, added, step = Windows(0), [], 0
    for _ in range(2_000):
        step += source.choice([0, 0, 0, 1, 1, 2, 7, 40])
        hits, denied = source.randrange(5), source.randrange(3)
        windows.add(step, hits, denied)
        added.append((step, hits, denied))
        for window, number, length in ((MINUTE, 6, 1), (TEN_MINUTES, 10, 6), (HOUR, 12, 30)):
            first = (step // length - number + 1) * length
            recent = [each for each in added[-400:] if each[0] >= first]
            assert windows.sums(step, window) == (sum(e[1] for e in recent), sum(e[2] for e in recent))


@pytest.mark.parametrize("number", [20, 300, 5_000, 100_000])
def test_the_number_of_keys_is_estimated(number):
    """With 256 registers the standard error is 6.5 %; five of them, and the last minute counts as well."""
    sketch = Sketch(0)
    for each in range(number):
        sketch.add(b"key %d" % each, 0)
    assert sketch.estimate(0) == pytest.approx(number, rel=0.33)
    assert sketch.estimate(1) == pytest.approx(number, rel=0.33)
    assert sketch.estimate(2) == 0
