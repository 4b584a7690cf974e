"""When a node counts as refusing every call."""

from ratelimitd.stores.redis.breaker import REFUSED_FOR, Refusals

AFTER = 3


def refused(times, *, probe=False):
    """Refusals at these times, and whether each began the state."""
    refusals = Refusals(AFTER)
    return refusals, [refusals.refused("NOPERM", now, probe=probe) for now in times]


def test_calls_and_time_are_needed():
    """Neither many calls in an instant nor a few over a long time show that every call is refused."""
    assert not any(refused([0.0] * 100)[1])
    assert not any(refused([0.0, 60.0])[1])
    assert refused([0.0, 0.5, REFUSED_FOR, 2.0])[1] == [False, False, True, False]


def test_a_call_that_passes_starts_anew():
    """One charge that passes ends the state, or the count towards it."""
    refusals, _ = refused([0.0, 0.5])
    assert not refusals.passed(probe=False)
    assert not refusals.refused("NOPERM", 5.0, probe=False)
    refusals, _ = refused([0.0, 0.5, 2.0])
    assert refusals.reason == "NOPERM"
    assert refusals.passed(probe=False)
    assert (refusals.reason, refusals.calls) == ("", 0)


def test_a_probe_does_not_speak_for_calls():
    """While calls are refused between two probes, probes that pass end nothing."""
    refusals, _ = refused([0.0, 0.5, 2.0])
    assert not refusals.passed(probe=True)
    refusals.refused("NOPERM", 3.0, probe=False)
    assert not refusals.passed(probe=True)
    assert refusals.passed(probe=True)
