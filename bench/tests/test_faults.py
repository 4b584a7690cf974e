"""Results of the faults benchmark for synthetic calls and logs."""

import json
import math

import pytest

from bench.faults import COLUMNS, RATE, Log, Watch, _data, _kinds, _read, _row, evaluate, policy
from bench.policy import PLENTY
from bench.rigs import FAULTS
from bench.trace import Call
from ratelimitd.policy import OnStoreFailure
from ratelimitd.policy_file import parse
from ratelimitd.proto import message

DAY = 1_700_000_000.0
WATCH = Watch(DAY, DAY + 2, DAY + 2.02, DAY + 4, DAY + 7)
SEEN = Log(2, 0, (DAY + 2.02,))


def answer(left):
    built = message("envoy.service.ratelimit.v3.RateLimitResponse")(overall_code=1)
    built.statuses.add(code=1, limit_remaining=left)
    return built.SerializeToString()


WHOLE, SHARE = answer(PLENTY - 7), answer(PLENTY // 4 - 7)


def good(now, frame):
    """Return a call of a correct service: late for 20 ms, then failing at once, correct 0.4 s after the recovery."""
    if not WATCH.fault <= now < WATCH.back + 0.4:
        return Call(now, now, now + 0.0003, frame, 0, WHOLE)
    return Call(now, now, now + (0.015 if now < WATCH.opened else 0.0002), frame, 14, b"")


def found(change=lambda call: call, on_store_failure="error", log=SEEN, spared=frozenset()):
    count = int((WATCH.ended - DAY) * RATE)
    calls = [change(good(DAY + n / RATE, n % 30)) for n in range(count)]
    return evaluate("made up", on_store_failure, WATCH, calls, log, {"timeout": 40}, 80.0, spared)


def test_a_service_that_keeps_its_promises_has_no_misses():
    """Each number is of its own phase."""
    seen = found()
    assert seen.misses == ()
    assert [seen.before, seen.onset, seen.open, seen.after] == pytest.approx([0.0003, 0.015, 0.0002, 0.0003], abs=1e-6)
    assert (seen.longest, seen.right) == pytest.approx((0.015, 0.4), abs=0.002)
    assert seen.failed == int(2.4 * RATE)
    assert math.isnan(seen.spared)
    assert len(_row(seen)) == len(COLUMNS)
    assert json.dumps(_data(seen), allow_nan=False)


@pytest.mark.parametrize("took", [0.021, math.inf])
def test_one_call_over_the_limit_is_a_miss(took):
    """One slow or unanswered call is a miss, in any phase."""
    seen = found(lambda call: call._replace(done=call.due + took) if call.due == DAY + 5 else call)
    assert seen.over == 1
    assert [miss for miss in seen.misses if miss.startswith("1 calls over 20 ms")]


def test_a_load_that_was_late_itself_is_not_taken_for_a_slow_service():
    """A call that was answered while the load stalled is reported but not a miss; a longer one is a miss."""

    def late(call, took):
        if call.due == DAY + 5:
            return call._replace(done=call.due + took)
        behind = 0.018 if DAY + 5.002 <= call.due < DAY + 5.003 else 0.0
        return call._replace(sent=call.due + behind, done=call.done + behind)

    seen = found(lambda call: late(call, 0.021))
    assert (seen.over, seen.surely, seen.misses) == (1, 0, ())
    seen = found(lambda call: late(call, 0.04))
    assert (seen.over, seen.surely) == (1, 1)


def test_calls_that_wait_while_the_breaker_is_open_are_a_miss():
    """Two of a hundred calls suffice, although each is within 20 ms."""
    slow = {n for n in range(int(7 * RATE)) if n % 50 == 0}
    seen = found(lambda call: call._replace(done=call.due + 0.01) if round((call.due - DAY) * RATE) in slow else call)
    assert seen.misses == ("p99 10.0 ms while the breaker is open",)


def test_no_right_decision_within_a_second_is_a_miss():
    """An answer from a process's local share is not a decision from the counter in Redis."""
    seen = found(
        lambda call: call._replace(status=0, answer=SHARE) if call.status or call.due > DAY + 4 else call, "local"
    )
    assert seen.right == math.inf
    assert seen.misses == ("no correct decision until inf ms after the recovery",)


def test_calls_that_fail_after_the_return_are_a_miss():
    """One call is enough."""
    seen = found(lambda call: call._replace(status=14) if call.due == DAY + 6 else call)
    assert seen.misses == ("1 calls failed more than 1 s after the recovery",)


def test_calls_of_healthy_nodes_must_not_fail():
    """The failure of a node must not affect counters of other nodes, whose latency is measured separately."""
    assert "calls of other nodes failed" in found(spared=frozenset({1, 2})).misses[0]
    seen = found(lambda call: good(DAY, call.frame)._replace(due=call.due, done=call.due + 0.0005)
                 if call.frame in (1, 2) else call, spared=frozenset({1, 2}))  # fmt: skip
    assert seen.misses == ()
    assert seen.spared == pytest.approx(0.0005, abs=1e-6)


def test_a_policy_that_needs_no_store_fails_no_call():
    """With ``local`` a failed call is a miss."""
    assert found(on_store_failure="local").misses == (f"{int(2.4 * RATE)} calls failed",)


def test_an_exception_in_the_log_is_a_miss():
    """A line that is not JSON is also a miss."""
    edge = '{"@message": "redis is unavailable", "level": "warning", "@timestamp": "2023-11-14T22:13:22.020000Z"}'
    wrong = '{"@message": "failed to deliver decisions to their caller", "level": "error", "exception": "Traceback"}'
    log = _read(f"{edge}\n{wrong}\nTraceback (most recent call last):")
    assert (log.lines, log.exceptions) == (3, 2)
    assert log.away(DAY + 2, DAY + 4) == pytest.approx(DAY + 2.02)
    assert log.away(DAY + 3, DAY + 4) == DAY + 4
    assert found(log=log).misses == ("2 exceptions in the log",)


def test_failures_are_read_by_kind():
    """Kinds with a count of 0 are omitted."""
    metrics = {'ratelimitd_store_failures_total{kind="timeout"}': 3.0, "ratelimitd_store_connected": 1.0}
    assert _kinds(metrics | {'ratelimitd_store_failures_total{kind="key"}': 0.0}) == {"timeout": 3}


@pytest.mark.parametrize("name", ["error", "local"])
def test_the_policy_says_what_happens_without_a_store(name):
    """The policy is valid and has the given on_store_failure."""
    (limit,) = [limit for node in parse([("p.yaml", policy(name).encode())]).nodes for limit in node.limits]
    assert limit.on_store_failure is OnStoreFailure[name.upper()]


def test_every_fault_has_a_name_of_its_own():
    """Rows of the table are distinguishable."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
