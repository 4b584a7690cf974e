"""What-if: the replay of an hour of rates, beside a replay of the requests that the rates are of."""

import random
import time
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest

from ratelimitd.algorithms import SECOND, concurrent_rate, make_rate
from ratelimitd.policy import UNIT_SECONDS, Charging, Limit, Unit, assemble, described
from ratelimitd.policy_file import examine
from ratelimitd.simulate import Event, run
from ratelimitd.simulate.bursts import bursts_of
from ratelimitd.simulate.changed import PARAMETERS, WhatIfError, changed_limit
from ratelimitd.simulate.hour import STEP, STEPS, Hour, KeyHits
from ratelimitd.simulate.what_if import SLICE, WORK, what_if

END = 1_800_000_000
LISTED = 32


def limit(quota, unit, algorithm="fixed_window", burst=None, **more):
    rate = make_rate(algorithm, quota, UNIT_SECONDS[unit] * SECOND, burst)
    return Limit(rate, quota, unit, **more)


def replayed(configured, changed, hour):
    generator = what_if(configured, changed, hour)
    try:
        while True:
            next(generator)
    except StopIteration as stopped:
        return stopped.value


def arrivals(generator, rate):
    now = generator.expovariate(rate)
    while now < STEP * STEPS:
        yield now
        now += generator.expovariate(rate)


def steady(generator):
    """20 users with a request every two seconds, at random times."""
    return [(now, f"u{user}") for user in range(20) for now in arrivals(generator, 0.5)]


def bursty(generator):
    """40 users with 20 to 60 requests within two seconds, every two minutes."""
    return [
        (at, f"u{user}")
        for user in range(40)
        for begun in arrivals(generator, 1 / 120)
        for at in (begun + generator.random() * 2 for _ in range(generator.randint(20, 60)))
        if at < STEP * STEPS
    ]


def skewed(generator):
    """1,000 users, the nth with a request for every n of the first."""
    times = list(arrivals(generator, 5))
    users = generator.choices(range(1000), [1 / (user + 1) for user in range(1000)], k=len(times))
    return [(now, f"u{user}") for now, user in zip(times, users, strict=True)]


TRAFFIC = {traffic.__name__: traffic for traffic in (steady, bursty, skewed)}


def decided(traffic, limited):
    """Return hits allowed and denied by step, as the engine decides the requests; each question is answered once."""
    return _decided(tuple(traffic), limited)


@cache
def _decided(traffic, limited):
    text = f"rate_limit: {{unit: {limited.unit.name.lower()}, requests_per_unit: {limited.requests_per_unit}, "
    burst = f", burst: {limited.rate.burst}" if limited.rate.burst != limited.rate.quota else ""
    text = f"domain: d\ndescriptors:\n- key: user\n  {text}algorithm: {limited.rate.algorithm}{burst}}}"
    policy = assemble(examine([("p.yaml", text.encode())]).rows)
    start = END - STEP * STEPS
    events = [Event(int((start + at) * SECOND), (described(((b"user", user.encode()),)),)) for at, user in traffic]
    found = run("real", policy, b"d", events)
    counts = {over: [0] * STEPS for over in (False, True)}
    for now, over in zip(found.times, found.limited, strict=True):
        counts[over][(now // SECOND - start) // STEP] += 1
    return counts[False], counts[True]


def kept(traffic, limited, listed=LISTED):
    """Return what the live view keeps of requests: hits by step, and the busiest keys."""
    hour, ten, minute = (Counter(user for at, user in traffic if at >= since) for since in (0, 3000, 3540))
    top = [user for user, _ in hour.most_common(listed)]
    keys = [KeyHits(minute[user], ten[user], hour[user]) for user in top]
    return Hour(END, *decided(traffic, limited), keys, len(hour) - len(top))


CHANGES = {
    "lower": (limit(40, Unit.MINUTE), limit(20, Unit.MINUTE)),
    "higher": (limit(20, Unit.MINUTE), limit(30, Unit.MINUTE)),
    "another algorithm": (limit(30, Unit.MINUTE), limit(30, Unit.MINUTE, "token_bucket", 5)),
    "seconds": (limit(30, Unit.MINUTE, "sliding_window"), limit(3, Unit.SECOND, "sliding_window_counter")),
}
BOUNDS = {"steady": 0.01, "bursty": 0.08, "skewed": 0.01}
"""Part of all hits by which the replay may differ, as docs/live.md has it: listed keys tell little of bursts."""


@pytest.fixture(scope="module")
def traffic():
    return {name: tuple(sorted(made(random.Random(7)))) for name, made in TRAFFIC.items()}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", TRAFFIC)
def test_a_replay_of_rates_is_near_that_of_the_requests(traffic, name, change):
    """Denied hits of the hour differ by at most a per cent of all hits, with bursts by eight."""
    configured, changed = CHANGES[change]
    hour = kept(traffic[name], configured)
    found, real = replayed(configured, changed, hour), decided(traffic[name], changed)
    offered = sum(hour.offered)
    assert abs(sum(found.changed.denied) - sum(real[1])) <= BOUNDS[name] * offered
    assert abs(sum(found.configured.denied) - sum(hour.denied)) <= BOUNDS[name] * offered


@pytest.mark.parametrize("name", TRAFFIC)
def test_no_hit_is_lost_or_added(traffic, name):
    """In each step, what is allowed and denied is what came."""
    configured, changed = CHANGES["lower"]
    hour = kept(traffic[name], configured)
    found = replayed(configured, changed, hour)
    for outcome in (found.configured, found.changed):
        both = [sum(pair) for pair in zip(outcome.allowed, outcome.denied, strict=True)]
        assert both == hour.offered
        assert min(*outcome.allowed, *outcome.denied) >= 0


def test_bursts_are_measured(traffic):
    """Hits that come by themselves have none; those of 20 to 60 within two seconds are found."""
    sizes = {name: bursts_of(kept(each, limit(40, Unit.MINUTE)).keys) for name, each in traffic.items()}
    assert sizes["steady"].of(1800) == sizes["skewed"].of(1800) == 1
    assert 20 <= sizes["bursty"].of(1200) <= 80


def test_drift_of_busy_keys_is_no_burst_of_others():
    """Rates that drift by a tenth look like bursts of a thousand in busy keys, and of none in one with few hits."""
    generator = random.Random(3)
    hits = [10_000_000 // rank for rank in range(1, 65)]
    keys = [KeyHits(int(each / 60 * generator.gauss(1, 0.1)), each // 6, each) for each in hits]
    assert bursts_of(keys).of(hits[0]) > 100
    assert bursts_of(keys).of(1000) == 1


def test_the_hits_of_one_key_are_replayed_as_they_were():
    """With one key and windows of whole steps nothing is assumed: each step is as the engine decides it."""
    generator = random.Random(5)
    requests = sorted((at, "one") for at in arrivals(generator, 1.5))
    configured, changed = limit(100, Unit.MINUTE), limit(60, Unit.MINUTE)
    found = replayed(configured, changed, kept(requests, configured))
    assert found.exact
    assert (found.changed.allowed, found.changed.denied) == decided(requests, changed)
    assert not replayed(configured, limit(60, Unit.MINUTE, "gcra"), kept(requests, configured)).exact


def test_equal_questions_have_equal_answers(traffic):
    """The random numbers have a seed."""
    hour = kept(traffic["bursty"], limit(40, Unit.MINUTE))
    answers = [replayed(limit(40, Unit.MINUTE), limit(9, Unit.SECOND), hour) for _ in range(2)]
    assert answers[0] == answers[1]


def test_an_unchanged_limit_has_two_equal_outcomes(traffic):
    """Both limits see the same hits, so a difference is one of the limits."""
    hour = kept(traffic["skewed"], limit(40, Unit.MINUTE))
    found = replayed(limit(40, Unit.MINUTE), limit(40, Unit.MINUTE), hour)
    assert found.configured == found.changed


def busy(keys=128, others=100_000, rate=100_000):
    """An hour of 100,000 hits a second of skewed keys."""
    total = rate * STEP * STEPS
    shares = [total // (rank * 12) for rank in range(1, keys + 1)]
    listed = [KeyHits(share // 60, share // 6, share) for share in shares]
    return Hour(END, [rate * STEP] * STEPS, [0] * STEPS, listed, others)


BUSY = {
    "one key": (limit(100_000, Unit.SECOND), limit(50_000, Unit.SECOND, "gcra", 1), busy(keys=1, others=0)),
    "many": (limit(100, Unit.MINUTE), limit(100, Unit.SECOND), busy()),
    "logs": (limit(10_000, Unit.SECOND, "sliding_window"), limit(10_000, Unit.MINUTE, "sliding_window"), busy()),
    "small keys": (limit(10, Unit.MINUTE, "sliding_window"), limit(5, Unit.MINUTE), busy(rate=500)),
    "countless keys": (limit(10, Unit.HOUR), limit(5, Unit.HOUR), busy(others=10**9)),
}


@pytest.mark.parametrize("name", BUSY)
def test_work_is_bounded(name):
    """However many hits and keys an hour had, there are about as many slices, and one key has many of them too."""
    slices = list(what_if(*BUSY[name]))
    assert 100 <= len(slices) <= 2 * WORK / SLICE
    found = replayed(*BUSY[name])
    if name != "one key":
        assert f"{found.keys} of {BUSY[name][2].others + 128} keys are replayed" in found.note


@pytest.mark.alone
@pytest.mark.parametrize("name", BUSY)
def test_no_slice_holds_the_loop(name):
    """The longest slice takes less than 5 ms of CPU, and all of them take two seconds, on a slow machine."""
    times = [time.thread_time()]
    times += [time.thread_time() for _ in what_if(*BUSY[name])]
    times.append(time.thread_time())
    assert max(after - before for before, after in pairwise(times)) < 0.005
    assert times[-1] - times[0] < 2


@pytest.mark.parametrize("algorithm", ["token_bucket", "gcra"])
def test_a_small_burst_admits_what_is_refilled_between_two_batches(algorithm):
    """A batch of many hits stands for hits that are spread over the time before it: half of them pass."""
    hour = busy(keys=1, others=0)
    found = replayed(limit(100_000, Unit.SECOND), limit(50_000, Unit.SECOND, algorithm, 1), hour)
    assert sum(found.changed.allowed) == pytest.approx(sum(hour.offered) / 2, rel=0.01)
    assert sum(found.configured.denied) == 0


def test_an_idle_hour_is_exact():
    """Without hits there is nothing to assume."""
    found = replayed(limit(1, Unit.DAY), limit(2, Unit.DAY), Hour(END, [0] * STEPS, [0] * STEPS, [], 0))
    assert found.exact
    assert not any(found.changed.allowed + found.changed.denied)


def test_hits_of_unknown_keys_are_replayed():
    """An hour whose keys were not kept is one of keys with equal hits."""
    hour = Hour(END, [100] * STEPS, [0] * STEPS, [], 10)
    found = replayed(limit(60, Unit.MINUTE), limit(30, Unit.MINUTE), hour)
    assert sum(found.changed.denied) == pytest.approx(sum(hour.offered) / 2, rel=0.05)


def test_the_note_says_what_was_assumed():
    """Of each kind of limit, what is not replayed; and how far the replay is from what happened."""
    hour = Hour(END, [10] * STEPS, [5] * STEPS, [KeyHits(90, 900, 5400)], 0)
    plain = replayed(limit(60, Unit.MINUTE), limit(60, Unit.DAY), hour).note
    assert "under the configured numbers this denies 1800 hits where 1800 were denied" in plain
    assert "so a long window denies less than it did" in plain
    kinds = {
        "known after the request": {"charge": Charging.AFTER},
        "whatever its mode": {"shadow_mode": True},
    }
    for words, more in kinds.items():
        assert words not in plain
        assert words in replayed(limit(60, Unit.MINUTE, **more), limit(60, Unit.MINUTE, **more), hour).note


CONFIGURED = Limit(make_rate("token_bucket", 100, 60 * SECOND, 20), 100, Unit.MINUTE)


@pytest.mark.parametrize(
    ("query", "rate"),
    [
        ({}, ("token_bucket", 100, 60, 20)),
        ({"requests_per_unit": "200"}, ("token_bucket", 200, 60, 20)),
        ({"unit": "hour"}, ("token_bucket", 100, 3600, 20)),
        ({"unit": "SECOND", "unit_multiplier": "10"}, ("token_bucket", 100, 10, 20)),
        ({"algorithm": "gcra"}, ("gcra", 100, 60, 20)),
        ({"algorithm": "sliding_window"}, ("sliding_window", 100, 60, 100)),
        ({"burst": "7"}, ("token_bucket", 100, 60, 7)),
        ({"requests_per_unit": "0"}, ("token_bucket", 0, 60, 0)),
        ({"requests_per_unit": "", "burst": ""}, ("token_bucket", 100, 60, 20)),
    ],
)
def test_a_query_changes_what_it_names(query, rate):
    """What is absent or empty is as configured; a burst has a place in meters only."""
    found = changed_limit(CONFIGURED, query)
    assert (found.rate.algorithm, found.rate.quota, found.rate.window // SECOND, found.rate.burst) == rate
    assert found.requests_per_unit == found.rate.quota
    assert set(query) <= set(PARAMETERS)


def test_a_burst_that_is_the_limit_follows_it():
    """It was not configured."""
    assert changed_limit(limit(5, Unit.MINUTE, "gcra"), {"requests_per_unit": "9"}).rate.burst == 9


def test_count_rejected_is_kept_for_fixed_window():
    """Other algorithms have none."""
    configured = Limit(make_rate("fixed_window", 5, 60 * SECOND, None, False), 5, Unit.MINUTE)
    assert not changed_limit(configured, {"requests_per_unit": "9"}).rate.count_rejected
    assert changed_limit(configured, {"algorithm": "gcra"}).rate.algorithm == "gcra"


WRONG = {
    "algorithm: leaky": {"algorithm": "leaky"},
    "burst: 0": {"burst": "0"},
    "burst: 3, algorithm: fixed_window": {"burst": "3", "algorithm": "fixed_window"},
    "algorithm: sliding_window": {"algorithm": "sliding_window", "requests_per_unit": "10001"},
    "unit: fortnight": {"unit": "fortnight"},
    "unit_multiplier: 0": {"unit_multiplier": "0"},
    "unit: year, unit_multiplier: 4000000": {"unit": "year", "unit_multiplier": "4000000"},
}


@pytest.mark.parametrize("written", [each for each in WRONG if each != "algorithm: leaky"])
def test_numbers_that_cannot_be_enforced_are_refused_in_the_words_of_the_parser(written):
    """A file with the same numbers has the same error."""
    given = {"requests_per_unit": "100", "unit": "minute", "algorithm": "token_bucket", **WRONG[written]}
    fields = ", ".join(f"{name}: {value}" for name, value in given.items())
    text = f"domain: d\ndescriptors:\n- key: k\n  rate_limit: {{{fields}}}\n"
    (error,) = examine([("p.yaml", text.encode())]).errors
    with pytest.raises(WhatIfError) as raised:
        changed_limit(CONFIGURED, WRONG[written])
    assert str(raised.value) == error.message


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"algorithm": "leaky"}, "unknown algorithm 'leaky': write one of fixed_window"),
        ({"requests_per_unit": "-1"}, "'requests_per_unit' must be a whole number from 0 to 4294967295"),
        ({"requests_per_unit": "4294967296"}, "from 0 to 4294967295"),
        ({"burst": "\u0661"}, "'burst' must be a whole number"),
        ({"burst": "9" * 5000}, "'burst' must be a whole number"),
        ({"bursts": "1"}, "unknown parameter 'bursts': a what-if has requests_per_unit"),
    ],
)
def test_a_wrong_query_is_refused(query, words):
    """With what to write instead."""
    with pytest.raises(WhatIfError, match=words.replace("'", ".")):
        changed_limit(CONFIGURED, query)


@pytest.mark.parametrize(
    ("configured", "words"),
    [
        (Limit(None), "an unlimited limit has no counter"),
        (Limit(concurrent_rate(5, 60 * SECOND), 5), "a limit on requests in progress cannot be replayed"),
    ],
)
def test_limits_that_cannot_be_replayed(configured, words):
    """Neither by a query, nor by a replay."""
    with pytest.raises(WhatIfError, match=words):
        changed_limit(configured, {})
    with pytest.raises(WhatIfError, match=words):
        next(what_if(configured, configured, Hour(END, [1] * STEPS, [0] * STEPS, [], 1)))


def test_a_replay_can_be_dropped():
    """Closing it, as a client that leaves does, ends it at once."""
    generator = what_if(*BUSY["many"])
    next(generator)
    generator.close()
    assert next(generator, None) is None
