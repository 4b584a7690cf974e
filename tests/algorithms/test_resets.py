"""The reset and retry times that a caller receives; further denied requests do not move them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.algorithms import NEVER
from tests.algorithms.cases import NOW, Counter, rates


@st.composite
def used(draw):
    """A counter that holds something, and when."""
    rate = draw(rates().filter(lambda rate: rate.quota > 0))
    counter, now = Counter(rate), NOW
    for pause in draw(st.lists(st.integers(0, rate.window), max_size=5)):
        now += pause
        counter.charge(draw(st.integers(1, rate.burst)), now)
    counter.charge(counter.look(0, now).remaining or 1, now)
    return counter, now


@pytest.mark.scenario("the reset time fluctuates from answer to answer")
@given(used(), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_the_reset_does_not_wobble(held, parts):
    """While nothing is charged, the moment of the reset is the same µs however often and whenever one looks."""
    counter, now = held
    reset = now + counter.charge(0, now).reset_after
    for part in sorted(parts):
        later = now + int((reset - now - 1) * part)
        assert later + counter.charge(0, later).reset_after == reset


@pytest.mark.scenario("a client keeps sending requests while it is over limit")
@given(used(), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_asking_in_vain_puts_nothing_off(held, parts):
    """However often a full key is asked, it opens at the moment that its first denial named."""
    counter, now = held
    first = counter.charge(1, now)
    assert not first.allowed
    assert first.retry_after != NEVER
    opens = now + first.retry_after
    for part in sorted(parts):
        later = now + int((first.retry_after - 1) * part)
        again = counter.charge(1, later)
        assert not again.allowed
        assert later + again.retry_after == opens
    assert counter.charge(1, opens).allowed
