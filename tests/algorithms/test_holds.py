"""Holds: what requests keep while they are in progress, and what they are when it is over."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.algorithms import (
    ALGORITHMS,
    HOLDS_MOST,
    LOOK,
    MIXED,
    NEVER,
    OWN,
    SHARED,
    Hold,
    HoldDecision,
    Holds,
    RateError,
    amount_bounds,
    charge_with_holds,
    concurrent_rate,
    is_by_holds,
    lease_of,
    make_rate,
    name_of,
    names_of,
    take_step,
    where_held,
)
from tests.algorithms.cases import ASKED, NOW, SECOND, SETTLEMENT, histories

NAMES = list(ALGORITHMS)
TTL = 300 * SECOND
HOUR = 3_600 * SECOND


class Reserved:
    """A counter with holds; each question has a call of its own."""

    def __init__(self, rate, amount=1):
        self.rate, self.amount, self.holds, self.state = rate, amount, Holds(), None
        self.calls = count(1)

    def charge(self, cost, flags, hold, now=NOW):
        self.state, decision = charge_with_holds(self.state, self.holds, self.rate, cost, now, flags, hold)
        return decision

    def ask(self, cost=0, now=NOW, amount=None):
        """A question; its lease if it passed."""
        amount = self.amount if amount is None else amount
        name = name_of(b"%016x" % next(self.calls), amount)
        return name if self.charge(cost, ASKED, Hold(TTL, amount, (name,)), now).allowed else None

    def settle(self, cost, *names, now=NOW):
        """A settlement with a lease, or without."""
        return self.charge(cost, SETTLEMENT, Hold(TTL, 0, names, newest=not names), now)


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_of_50_lets_5_of_20_pass_with_holds_of_10(name):
    """Whatever the algorithm; each settlement makes room for one, and no more than is left."""
    counter = Reserved(make_rate(name, 50, HOUR), 10)
    leases = [counter.ask() for _ in range(20)]
    assert [lease is not None for lease in leases] == [True] * 5 + [False] * 15
    assert counter.settle(10, leases[2]).moved == 10
    assert counter.ask() is None  # 10 used, 40 held
    assert counter.settle(0, leases[0]).held == 30
    assert counter.ask() is not None
    assert counter.ask() is None


@pytest.mark.parametrize("name", NAMES)
def test_with_nothing_held_one_unit_is_enough(name):
    """The rest of a budget is used, however large the hold; the second request has to wait for the first."""
    counter = Reserved(make_rate(name, 50, HOUR), 25)
    counter.settle(49)
    lease = counter.ask()
    assert lease is not None
    assert counter.ask() is None
    counter.settle(0, lease)
    assert counter.ask(cost=1) is not None
    counter.settle(0)
    assert counter.ask() is None


@pytest.mark.parametrize("name", NAMES)
def test_a_request_refused_by_holds_costs_nothing_and_waits_a_second(name):
    """Also a weighted one on a window that counts what it rejects: nothing was spent, and holds turn over."""
    counter = Reserved(make_rate(name, 50, HOUR), 20)
    counter.ask()
    counter.ask()
    refused = counter.charge(20, ASKED, Hold(TTL, 20, (name_of(b"0" * 16, 20),)))
    assert (refused.allowed, refused.retry_after, refused.before, refused.held) == (False, SECOND, 0, 40)
    assert is_by_holds(counter.rate, refused, 20)
    assert refused.remaining == 10
    assert counter.settle(0).before == 0
    full = Reserved(make_rate(name, 50, HOUR), 20)
    full.settle(50)
    refused = full.charge(0, ASKED, Hold(TTL, 20))
    assert (refused.allowed, is_by_holds(full.rate, refused, 1)) == (False, False)
    assert not is_by_holds(full.rate, full.charge(51, ASKED, Hold(TTL, 20)), 51)


def test_places_are_taken_and_freed():
    """N requests at once; a settlement frees one, whatever its hits; a limit of 0 never lets one pass."""
    counter = Reserved(concurrent_rate(3, TTL))
    leases = [counter.ask(cost) for cost in (0, 1, 7, 0)]
    assert [lease is not None for lease in leases] == [True] * 3 + [False]
    refused = counter.charge(0, ASKED, Hold(TTL, 1))
    assert (refused.retry_after, refused.before, refused.remaining) == (SECOND, 3, 0)
    freed = counter.settle(1_000, leases[0])
    assert (freed.allowed, freed.moved, freed.remaining) == (True, 1, 1)
    assert counter.settle(0, leases[0]).moved == 0
    assert counter.settle(5).moved == 1
    assert counter.charge(-2, ASKED, Hold(TTL)).remaining == 2
    assert counter.charge(0, ASKED, Hold(TTL, 1)).held == 1  # a look takes none
    never = Reserved(concurrent_rate(0, TTL)).charge(0, ASKED, Hold(TTL, 1))
    assert (never.allowed, never.retry_after) == (False, NEVER)
    with pytest.raises(RateError, match="0 to 10000"):
        concurrent_rate(HOLDS_MOST + 1, TTL)


def test_the_newest_hold_goes_without_a_lease():
    """So holds of answers that never settle sink, and expire."""
    counter = Reserved(make_rate("token_bucket", 100, HOUR), 10)
    old, middle, new = (counter.ask(now=NOW + second * SECOND) for second in range(3))
    assert counter.settle(1, now=NOW + 3 * SECOND).moved == 10
    assert counter.holds.release((new,)) == 0
    assert counter.settle(1, middle, now=NOW + 3 * SECOND).moved == 10
    assert (counter.holds.held, counter.holds.last) == (10, NOW + TTL)
    assert counter.settle(1, old, now=NOW + TTL).moved == 0
    assert counter.settle(1, now=NOW + TTL).moved == 0


def test_a_hold_expires_after_its_ttl_and_not_before():
    """At most 128 in one call, the oldest of them; what is left is held until the next call."""
    counter = Reserved(make_rate("token_bucket", 10_000, HOUR), 10)
    for second in range(200):
        counter.ask(now=NOW + second)
    assert counter.charge(0, LOOK, Hold(TTL), NOW + TTL - 1).expired == 0
    found = [counter.charge(0, LOOK, Hold(TTL), NOW + TTL + 199) for _ in range(3)]
    assert [(each.expired, each.held) for each in found] == [(128, 720), (72, 0), (0, 0)]


def test_a_counter_has_no_more_holds_than_it_may():
    """By the least amount, of the largest limit and of one that no number divides."""
    for burst in (20_000, 1_234_567):
        rate = make_rate("token_bucket", burst, HOUR)
        counter = Reserved(rate, amount_bounds(rate)[0])
        while counter.ask():
            pass
        assert HOLDS_MOST * 0.99 < len(counter.holds) <= HOLDS_MOST


@pytest.mark.parametrize(
    ("burst", "bounds"),
    [(1, (1, 1)), (2, (1, 1)), (50, (1, 25)), (10_001, (2, 5_000)), (2**32 - 1, (429_497, 2**31 - 1))],
)
def test_amounts_are_half_of_the_limit_at_most(burst, bounds):
    """And a ten-thousandth of it at least."""
    assert amount_bounds(make_rate("token_bucket", burst, HOUR)) == bounds


@given(histories(), st.data())
def test_holds_are_what_a_list_of_them_would_be(history, data):
    """Taken, released by name and newest first, expired: as a list of (expiry, name) that is sorted at each call; and
    the counter decides settlements and give-backs as it does without holds."""
    rate, charges = history
    counter, plain, listed = Reserved(rate), None, []
    for now, cost in charges:
        ttl = data.draw(st.sampled_from([SECOND, 3 * SECOND, HOUR]))
        amount = data.draw(st.integers(1, max(1, rate.burst // 2)))
        flags = data.draw(st.sampled_from([ASKED, ASKED, SETTLEMENT]))
        expired = [each for each in listed if each[0] <= now]
        listed = sorted(each for each in listed if each not in expired)
        name = name_of(b"%016x" % next(counter.calls), amount)
        gone = None
        if flags == ASKED or cost < 0:
            hold = Hold(ttl, amount, (name,))
        elif listed and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(listed))
            hold = Hold(ttl, 0, (gone[1],))
        else:
            gone = listed[-1] if listed else None
            hold = Hold(ttl, newest=True)
        listed = [each for each in listed if each != gone]
        held = sum(int(each[1][17:]) for each in listed)
        _, alone = take_step(plain, rate, cost, now, flags)
        decision = counter.charge(cost, flags, hold, now)
        fits = held == 0 or alone.before + cost + held + amount <= rate.burst
        if flags == ASKED and cost >= 0:
            assert decision.allowed == (alone.allowed and fits)
            if decision.allowed:
                listed.append((now + ttl, name))
                held += amount
        else:
            assert decision.allowed == alone.allowed
        if decision.allowed or not is_by_holds(rate, decision, max(cost, 1)):
            assert decision.remaining == max(0, alone.remaining - held)
        assert (decision.held, decision.expired, decision.before) == (held, len(expired), alone.before)
        assert len(counter.holds) == len(listed)
        plain = counter.state


def test_two_holds_of_one_name_are_one():
    """A call holds once on a counter."""
    holds = Holds()
    assert [holds.take(b"%016x.5" % 1, NOW), holds.take(b"%016x.5" % 1, NOW + 1)] == [5, 0]
    assert (holds.held, len(holds), holds.first) == (5, 1, NOW)


CALL = b"0123456789abcdef"


def test_a_lease_names_the_holds_of_a_call():
    """Each amount once."""
    assert lease_of(CALL, [10, 7, 10]) == CALL + b".10.7"
    assert names_of(CALL + b".10.7") == (CALL + b".10", CALL + b".7")


@pytest.mark.parametrize("where", [OWN, SHARED, MIXED])
def test_a_lease_says_where_its_holds_are(where):
    """Their names are the same everywhere."""
    lease = lease_of(CALL, [10, 7], where)
    assert (where_held(lease), names_of(lease)) == (where, (CALL + b".10", CALL + b".7"))


@pytest.mark.parametrize(
    "lease",
    [
        *(b"?", CALL, CALL + b".", CALL + b".0", CALL + b".07", CALL + b".1.", CALL + b".-1", CALL + b".1e3"),
        *(CALL[1:] + b".1", CALL.upper() + b".1", b'"' + CALL[1:] + b".1", CALL + b".12345678901", CALL + b'.1"'),
        *(
            CALL + b".1" * 17,
            b"x" * 5_000,
            CALL + b".1" * 2_500,
            b"held",
            "\u0661".encode() * 8 + b".1",
            CALL + b".\xb2",
            CALL + b"-1",
            CALL + b":1:2",
        ),
    ],
)
def test_other_text_names_none(lease):
    """No hold of ours has the name of it, and nothing in it reaches Redis."""
    assert names_of(lease) == (b"?",)


def test_a_decision_with_holds_is_equal_by_all_of_its_fields():
    """Not to one without."""
    decision = HoldDecision(True, 1, 2, 3, 4, 5, 6, 7)
    assert decision == HoldDecision(True, 1, 2, 3, 4, held=5, moved=6, expired=7)
    assert decision != HoldDecision(True, 1, 2, 3, 4, held=5, moved=6, expired=8)
