"""Records of each call, with a real service."""

import math
import os
import signal
import time
from itertools import pairwise

import pytest

from bench.fleet import request
from bench.policy import PLENTY, policy
from bench.trace import RECORD, Call, Tracer, between, lag, longest, percentile, read
from testkit.server import service


def trace(subject, where, rate, *keys, during=lambda: None):
    """Return the calls of about half a second; ``during`` runs halfway."""
    load = Tracer(subject.address, [request(key, "a") for key in keys], where.load, rate=rate)
    time.sleep(0.25)
    during()
    time.sleep(0.25)
    return load.end()


@pytest.mark.process
def test_each_call_is_recorded_with_its_answer(where):
    """Calls are evenly spaced, in order, each with its decision, and none is lost."""
    with service("grpcio", policy(), where.server) as subject:
        calls = trace(subject, where, 500, "user", "nobody")
    assert len(calls) > 100
    assert all(call.admitted and not call.failed for call in calls)
    left = [call.remaining for call in calls if call.frame == 0]
    assert len(left) == (len(calls) + 1) // 2
    assert sorted(left, reverse=True) == [PLENTY - 1 - n for n in range(len(left))]
    gaps = [after.due - before.due for before, after in pairwise(calls)]
    assert gaps == pytest.approx([0.002] * len(gaps), abs=1e-4)
    assert all(call.due <= call.sent + 1e-6 and call.sent <= call.done for call in calls)


@pytest.mark.process
def test_a_service_that_hangs_leaves_calls_without_an_answer(where):
    """An unanswered call is recorded with an infinite time, not omitted."""
    with service("grpcio", policy(), where.server) as subject:
        calls = trace(subject, where, 200, "user", during=lambda: os.kill(subject.pid, signal.SIGSTOP))
        os.kill(subject.pid, signal.SIGCONT)
    assert sum(call.done == math.inf for call in calls) > 10
    assert longest(calls) == math.inf


@pytest.mark.process
def test_a_service_that_is_killed_ends_the_record(where):
    """Calls answered before the kill are recorded."""
    with service("grpcio", policy(), where.server) as subject:
        calls = trace(subject, where, 500, "user", during=lambda: os.kill(subject.pid, signal.SIGKILL))
    assert sum(not call.failed for call in calls) > 50


def test_numbers_of_calls():
    """Percentile, longest and lag are computed from the records; the lag is that of the load."""
    calls = [Call(n, n + 0.5, n + 1 + n / 100, 0, 0, b"") for n in range(100)]
    assert percentile(calls) == pytest.approx(1.98)
    assert percentile(calls, 0.5) == pytest.approx(1.49)
    assert longest(calls) == pytest.approx(1.99)
    assert lag(calls) == 0.5
    assert [call.due for call in between(calls, 10, 12)] == [10, 11]
    assert math.isnan(percentile([]))
    assert math.isnan(longest([]))
    assert lag([]) == 0.0


def test_half_a_record_is_left_out():
    """A partial record at the end is ignored."""
    whole = RECORD.pack(1_000_000_000, 1_000_000_000, 0, 3, 14, 7, bytes(64))
    (call,) = read(whole + whole[:50])
    assert (call.frame, call.status, call.done, call.failed, call.remaining) == (3, 14, math.inf, True, 0)
