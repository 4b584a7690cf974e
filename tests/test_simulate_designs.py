"""Designs that ``simulate --callers`` compares: their words, and what holds make of a budget."""

import pytest

from ratelimitd.algorithms import SECOND, Reserve
from ratelimitd.policy import Charging
from ratelimitd.simulate import SimulationError
from ratelimitd.simulate.answers import (
    CALLERS,
    DOMAIN,
    Budget,
    Design,
    Load,
    design,
    distribution,
    policy_of,
    rows_of,
    run,
)

LOAD = Load(50, 3_600, distribution("400,732,50..8000"), distribution("50,57,5..200"), 0.5, 1.0, 0.05, 700, 0.01, 0)
"""The callers of the reference: half of the answers have fewer than 400 tokens, and a few more than 6,000."""

STEADY = Load(10, 600, distribution("100"), distribution("100"), 0.5, 1.0, 0.0, 0, 0.0, 0)


def simulated(text, load=LOAD, budget=(20_000, 600)):
    made = policy_of(rows_of(*budget, "fixed_window"), DOMAIN, chosen := design(text))
    return run(text, Budget(made, DOMAIN, [CALLERS], leases=chosen.leases), load)


def worst(text, **changed):
    (spent,) = simulated(text, LOAD._replace(**changed)).spent
    return max(spent.over_runs)


AFTER = Charging.AFTER


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("before", Design("before", charge=Charging.BEFORE)),
        ("token_bucket+after", Design("token_bucket+after", "token_bucket", AFTER)),
        ("gcra", Design("gcra", "gcra")),
        ("lease", Design("lease", leases=True)),
        ("reserve", Design("reserve", None, AFTER, Reserve())),
        ("reserve=auto+lease", Design("reserve=auto+lease", None, AFTER, Reserve(), leases=True)),
        ("reserve=700", Design("reserve=700", None, AFTER, Reserve(amount=700))),
        ("ttl=1m+start=90", Design("ttl=1m+start=90", None, AFTER, Reserve(start=90, ttl=60 * SECOND))),
    ],
)
def test_words_of_a_design(text, found):
    """Words joined by +, in any order; each of a reservation makes one."""
    assert design(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("magic", "'magic' is no design: write an algorithm, before"),
        ("after+", "'' is no design"),
        ("before=3", "'before=3' is no design"),
        ("reserve=x", "'reserve=x': not a whole number; write reserve=2000"),
        ("start=x", "'start=x': not a whole number; write start=2000"),
        ("ttl=x", "'ttl=x': .*; write ttl=300s"),
        ("before+after", "says when costs come twice, 'before' and 'after'"),
        ("token_bucket+gcra", "says an algorithm twice, 'token_bucket' and 'gcra'"),
        ("reserve=2000+reserve=3000", "says reserve twice, 'reserve=2000' and 'reserve=3000'"),
        ("reserve+reserve=3000", "says reserve twice"),
        ("ttl=1m+ttl=2m", "says ttl twice"),
        ("before+lease", "has a lease and nothing that it releases"),
        ("after+lease", "has a lease and nothing that it releases"),
        ("reserve=2000+start=100", "remove 'start=100', or write auto in 'reserve=2000'"),
        ("reserve=0", "'reserve=0': must be from 1"),
        ("ttl=0s", "'ttl=0s': must be greater than 0"),
        ("before+reserve", "charges before and reserves"),
    ],
)
def test_what_is_no_design(text, why):
    """An error names the word, and those that there are."""
    with pytest.raises(ValueError, match=why):
        design(text)


def test_an_amount_that_a_limit_cannot_have():
    """An answer may hold half of a limit at most, as in a policy file."""
    with pytest.raises(SimulationError, match="'callers' cannot be compared as reserve=10001: an amount of 10001"):
        simulated("reserve=10001")


@pytest.mark.parametrize("text", ["lease", "gcra+lease"])
def test_a_lease_needs_something_that_it_releases(text):
    """A design, or the policy, reserves."""
    rows = rows_of(500, 600, "token_bucket")
    with pytest.raises(SimulationError, match=r"no limit reserves anything: write reserve\+lease"):
        policy_of(rows, DOMAIN, design(text))
    reserving = rows[1]._replace(limits=(rows[1].limits[0]._replace(reserve=Reserve()),))
    assert policy_of([rows[0], reserving], DOMAIN, design(text)).nodes[1].limits[0].reserve == Reserve()


def test_a_design_replaces_what_the_policy_reserves():
    """``after`` is without holds, whatever the policy has; an algorithm alone leaves them as they are."""
    rows = rows_of(500, 600, "fixed_window")
    reserving = rows[1]._replace(limits=(rows[1].limits[0]._replace(reserve=Reserve()),))

    def reserves(text):
        (limit,) = policy_of([rows[0], reserving], DOMAIN, design(text)).nodes[1].limits
        return limit.reserve

    assert reserves("after") is None
    assert reserves("token_bucket") == Reserve()


def test_holds_bound_what_runs_at_once():
    """Of a budget of 500, 5 answers that hold 100 are in progress at once, and the 10 callers use no more than it."""
    made = simulated("reserve=100", STEADY, (500, 600))

    assert made.passed == 5
    assert made.spent[0].windows == [(500, 500)]


@pytest.mark.parametrize("text", ["reserve", "reserve+lease"])
def test_holds_keep_a_budget_within_a_few_answers(text):
    """50 callers exceed a budget of 28 answers by more than twice its size, and with holds by some answers at worst."""
    load = LOAD._replace(seconds=1_200)
    assert max(simulated("after", load).spent[0].over_runs) > 2
    made = simulated(text, load)

    assert max(made.spent[0].over_runs) < 1
    assert made.spent[0].used > 0.9


def test_amounts_between_the_mean_and_the_largest_are_best():
    """The mean is too little: long answers are in flight longer. ``auto`` finds what is right."""
    large = {"load": LOAD._replace(callers=40, seconds=1_200), "budget": (80_000, 600)}
    mean, learnt, largest = (
        simulated(f"reserve={amount}+lease", **large).spent[0] for amount in ("700", "auto", "8000")
    )

    assert sum(mean.over_runs) > 1.5 * sum(learnt.over_runs)
    assert learnt.used > largest.used


def test_holds_of_answers_that_never_settle_expire():
    """Each hang-up leaves a hold, which a lease does not release and the newest-first rule lets sink."""
    made = simulated("reserve+lease", LOAD._replace(callers=10, seconds=1_200, hang_ups=0.5, substitute=0))

    assert made.expired > 0
    assert simulated("after", LOAD._replace(seconds=600)).expired == 0


def test_a_short_ttl_lets_holds_vanish_under_their_streams():
    """With 10 seconds for streams that take up to minutes, a budget is exceeded further."""
    assert worst("reserve+lease+ttl=10s", seconds=1_200) > 2 * worst("reserve+lease", seconds=1_200)
