"""What the consistency check says of calls that were made up."""

import math

import pytest

from bench.consistency import COLUMNS, RATE, Watch, _row, judge
from bench.fleet import SIZE
from bench.injections import Injected, Pace, Scenario, quiet, resets
from bench.laws import LAWS, SHARE, counter_slot, policy
from bench.trace import Call
from ratelimitd.policy import parse

DAY = 1_700_000_000.0
PACE = Pace(before=2.0, fault=1.0, settle=1.0, after=2.0)
WATCH = Watch(DAY, DAY + 2, DAY + 3, DAY + 6)
OK, OVER = b"\x08\x01", b"\x08\x02"


def bucket(seconds: float = 6.0, rate: float = RATE) -> list[Call]:
    """Calls at even times, and what a bucket of the law's numbers answers."""
    law, calls, level = LAWS["token_bucket"], [], 50.0
    for number in range(int(seconds * rate)):
        now = DAY + number / rate
        level = min(level + law.rate / rate, law.burst) if number else level
        answer = OK if level >= 1 else OVER
        level -= level >= 1
        calls.append(Call(now, now, now + 0.001, 0, 0, answer))
    return calls


def verdict(calls: list[Call], injected: Injected = Injected(1), fault=resets):
    return judge(Scenario("made up", fault), injected, WATCH, PACE, calls)


def test_a_bucket_that_does_its_work_has_no_misses():
    """All of the limit is admitted and not a call more."""
    found = verdict(bucket())
    assert (found.misses, found.over_admission, found.errors) == ((), 0, 0)
    assert found.admitted == pytest.approx(found.bound, abs=2)
    assert len(_row(found)) == len(COLUMNS)


def test_over_admission_is_a_miss():
    """Five denials that were admissions are over the bound, whatever of a call had come in by then."""
    calls = bucket()
    for place in [n for n, call in enumerate(calls) if call.answer == OVER and n > 3000][:5]:
        calls[place] = calls[place]._replace(answer=OK)
    found = verdict(calls)
    assert found.over_admission in (4, 5)
    assert found.misses == (f"{found.over_admission} admitted over the bound",)


def test_a_failover_allows_one_burst():
    """The same calls are none too many when the counter may have been lost just then."""
    calls = bucket()
    for place in [n for n, call in enumerate(calls) if call.answer == OVER and 2000 < n < 3000][:40]:
        calls[place] = calls[place]._replace(answer=OK)
    assert verdict(calls).over_admission > 30
    assert verdict(calls, Injected(1, failovers=1)).over_admission == 0


def test_processes_on_their_own_may_double_a_limit_and_no_more():
    """Four processes that each use their share beside Redis are within the bound; that forget theirs, over it."""
    law, share = LAWS["local"], SHARE
    scenario, ticks = Scenario("made up", resets, "local"), range(int(6 * RATE))

    def watched(forget: int) -> int:
        levels, calls = [law.burst, *[share.burst] * SIZE], []
        for number in ticks:
            now = DAY + number / RATE
            for place, each in enumerate((law, *[share] * SIZE)):
                levels[place] = min(each.burst, levels[place] + each.rate / RATE)
                if place and number % forget == 0:
                    levels[place] = each.burst
                calls.append(Call(now, now, now + 1e-5, 0, 0, OK if levels[place] >= 1 else OVER))
                levels[place] -= levels[place] >= 1
        return judge(scenario, Injected(6), WATCH, PACE, calls).over_admission

    assert watched(len(ticks) + 1) == 0
    assert watched(1000) > 50


def test_what_was_failed_is_no_admission():
    """An error with an OK in its bytes is none, and neither is a call that was never answered."""
    call = Call(DAY, DAY, DAY + 0.001, 0, 0, OK)
    assert call.admitted
    assert not call._replace(status=14).admitted
    assert not call._replace(done=math.inf).admitted


def test_too_little_is_a_miss():
    """A service that fails every call after the fault admits nothing over the bound, and does not pass."""
    calls = [call._replace(status=14) if call.due > WATCH.over else call for call in bucket()]
    assert verdict(calls).misses == ("0% admitted after the recovery",)
    late = [call._replace(status=14) if call.due < WATCH.fault else call for call in bucket()]
    assert [miss for miss in verdict(late).misses if "before" in miss] == ["0% admitted before the fault"]


def test_too_few_calls_and_no_fault_are_misses():
    """A check that offers little, or harms nothing, proves nothing; only the quiet scenario may have no fault."""
    assert verdict(bucket(rate=500)).misses == ("8.6 times the bound offered",)
    assert verdict(bucket(), Injected(0)).misses == ("no fault",)
    assert verdict(bucket(), Injected(0), quiet).misses == ()


def test_the_policy_has_the_laws():
    """The service is given the limits that its answers are held against."""
    for text in (policy(), policy("note7")):
        (root,) = (parse([("p.yaml", text.encode())]).domains[b"bench"],)
        assert root is not None
    found = [limit for node in parse([("p.yaml", policy().encode())]).nodes for limit in node.limits]
    rates = {(each.rate.algorithm, each.rate.quota, each.rate.window / 1e6, each.rate.burst) for each in found}
    assert rates == set(map(tuple, LAWS.values()))


def test_a_counter_has_a_slot_of_its_own():
    """The slot is that of the value's counter, and stays the same."""
    assert len({counter_slot("token_bucket", f"v{n}") for n in range(20)}) > 10
    assert counter_slot("token_bucket", "v1") == counter_slot("token_bucket", "v1")
