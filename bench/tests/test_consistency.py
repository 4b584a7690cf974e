"""Verdicts of the consistency check on synthetic calls."""

import math

import pytest

from bench.consistency import COLUMNS, RATE, Watch, _row, evaluate
from bench.fleet import SIZE
from bench.injections import Injected, Pace, Scenario, quiet, resets
from bench.laws import LAWS, SHARE, counter_slot, policy
from bench.trace import Call
from ratelimitd.policy_file import parse

DAY = 1_700_000_000.0
PACE = Pace(before=2.0, fault=1.0, settle=1.0, after=2.0)
WATCH = Watch(DAY, DAY + 2, DAY + 3, DAY + 6)
OK, OVER = b"\x08\x01", b"\x08\x02"


def bucket(seconds=6.0, rate=RATE):
    """Return evenly spaced calls with the answers of a token bucket."""
    law, calls, level = LAWS["token_bucket"], [], 50.0
    for number in range(int(seconds * rate)):
        now = DAY + number / rate
        level = min(level + law.rate / rate, law.burst) if number else level
        answer = OK if level >= 1 else OVER
        level -= level >= 1
        calls.append(Call(now, now, now + 0.001, 0, 0, answer))
    return calls


def verdict(calls, injected=Injected(1), fault=resets):
    return evaluate(Scenario("made up", fault), injected, WATCH, PACE, calls)


def test_a_bucket_that_does_its_work_has_no_misses():
    """The whole limit is admitted, and no call more."""
    found = verdict(bucket())
    assert (found.misses, found.over_admission, found.errors) == ((), 0, 0)
    assert found.admitted == pytest.approx(found.bound, abs=2)
    assert len(_row(found)) == len(COLUMNS)


def test_over_admission_is_a_miss():
    """Five denials turned into admissions exceed the bound by four or five, depending on the refill."""
    calls = bucket()
    for place in [n for n, call in enumerate(calls) if call.answer == OVER and n > 3000][:5]:
        calls[place] = calls[place]._replace(answer=OK)
    found = verdict(calls)
    assert found.over_admission in (4, 5)
    assert found.misses == (f"{found.over_admission} admitted over the bound",)


def test_a_failover_allows_one_burst():
    """The same calls are within the bound if the counter may have been lost at that time."""
    calls = bucket()
    for place in [n for n, call in enumerate(calls) if call.answer == OVER and 2000 < n < 3000][:40]:
        calls[place] = calls[place]._replace(answer=OK)
    assert verdict(calls).over_admission > 30
    assert verdict(calls, Injected(1, failovers=1)).over_admission == 0


def test_processes_on_their_own_may_double_a_limit_and_no_more():
    """Four processes that use their shares besides Redis stay within the bound, unless they lose their counts.

    The calls begin before the watch does, and so does what the processes may admit.
    """
    law, share = LAWS["local"], SHARE
    scenario, ticks = Scenario("made up", resets, "local"), range(int(6 * RATE))

    def watched(forget):
        levels, calls = [law.burst, *[share.burst] * SIZE], []
        for number in ticks:
            now = WATCH.began - 0.2 + number / RATE
            for place, each in enumerate((law, *[share] * SIZE)):
                levels[place] = min(each.burst, levels[place] + each.rate / RATE)
                if place and number % forget == 0:
                    levels[place] = each.burst
                calls.append(Call(now, now, now + 1e-5, 0, 0, OK if levels[place] >= 1 else OVER))
                levels[place] -= levels[place] >= 1
        return evaluate(scenario, Injected(6), WATCH, PACE, calls).over_admission

    assert watched(len(ticks) + 1) == 0
    assert watched(1000) > 50


def test_what_was_failed_is_no_admission():
    """A failed call is not an admission, even if its bytes are an OK, and neither is an unanswered call."""
    call = Call(DAY, DAY, DAY + 0.001, 0, 0, OK)
    assert call.admitted
    assert not call._replace(status=14).admitted
    assert not call._replace(done=math.inf).admitted


def test_too_little_is_a_miss():
    """A service that fails every call after the fault does not pass, although it stays within the bound."""
    calls = [call._replace(status=14) if call.due > WATCH.over else call for call in bucket()]
    assert verdict(calls).misses == ("0% admitted after the recovery",)
    late = [call._replace(status=14) if call.due < WATCH.fault else call for call in bucket()]
    assert [miss for miss in verdict(late).misses if "before" in miss] == ["0% admitted before the fault"]


def test_too_few_calls_and_no_fault_are_misses():
    """Too few calls are a miss, and so is a missing fault, except in the scenario without a fault."""
    assert verdict(bucket(rate=500)).misses == ("8.6 times the bound offered",)
    assert verdict(bucket(), Injected(0)).misses == ("no fault",)
    assert verdict(bucket(), Injected(0), quiet).misses == ()


def test_the_policy_has_the_laws():
    """The policy of the services has the limits of the check."""
    for text in (policy(), policy("note7")):
        (root,) = (parse([("p.yaml", text.encode())]).domains[b"bench"],)
        assert root is not None
    nodes = parse([("p.yaml", policy().encode())]).domains[b"bench"].root.children
    found = [nodes[name.encode()].limits[0] for name in LAWS]
    rates = {(each.rate.algorithm, each.rate.quota, each.rate.window / 1e6, each.rate.burst) for each in found}
    assert rates == set(map(tuple, LAWS.values()))


def test_a_counter_has_a_slot_of_its_own():
    """Each value's counter has its own slot, which does not change."""
    assert len({counter_slot("token_bucket", f"v{n}") for n in range(20)}) > 10
    assert counter_slot("token_bucket", "v1") == counter_slot("token_bucket", "v1")
