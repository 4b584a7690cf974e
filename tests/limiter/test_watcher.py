"""The engine's watcher: called when a counter of a tally reaches its threshold, and at no other time."""

import pytest

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter import Ask, Charge, Failure, FailureKind, Item, NodeRules, Plan, Rule, Tallies
from ratelimitd.limiter.answer import tally
from ratelimitd.policy import Charging, Limit, Unit

LIMIT = Limit(make_rate("fixed_window", 10, 1_000_000), 10, Unit.SECOND)
FOUND = NodeRules((), frozenset(), (), None, b"")


class Watcher:
    """Sets the next threshold some hits further, and records what it is shown."""

    def __init__(self, hits=1, denied=1):
        self.steps = hits, denied
        self.seen = []

    def hits(self, ask, index, now):
        counted = ask.plan.charges[index].rule.tally
        self.seen.append(("hits", counted.total_hits, now))
        counted.hits_due = counted.total_hits + self.steps[0]

    def denied(self, ask, index, now):
        counted = ask.plan.charges[index].rule.tally
        self.seen.append(("denied", counted.over_limit, now))
        counted.denied_due = counted.over_limit + self.steps[1]


class Broken(Watcher):
    """Has an error whenever it is shown something."""

    def __init__(self):
        super().__init__()
        self.errors = []

    def hits(self, ask, index, now):
        raise OverflowError("hits")

    def denied(self, ask, index, now):
        raise OverflowError("denied")

    def failed(self, error):
        self.errors.append(str(error))


def decided(rule, cost, outcome):
    ask = Ask(Plan((Charge(rule, b"k"),), items=(Item(0, 1, unlimited=False, found=FOUND),)), [cost])
    ask.outcomes = [outcome]
    return ask


def passed(before):
    return Decision(True, 10 - before - 1, 1, 0, before)


DENIED = Decision(False, 0, 1, 1, 10)


@pytest.mark.parametrize(("step", "seen"), [(1, [1, 2, 3, 4, 5, 6]), (3, [1, 4]), (100, [1])])
def test_hits_are_shown_at_their_threshold(step, seen):
    """The first hit of a limit, then one each time that its threshold is reached."""
    rule, watcher = Rule(LIMIT), Watcher(hits=step)
    for before in range(6):
        tally(decided(rule, 1, passed(before)), watcher, 7)
    assert watcher.seen == [("hits", number, 7) for number in seen]


def test_denials_have_a_threshold_of_their_own():
    """By ``over_limit``, which hits that pass do not raise."""
    rule, watcher = Rule(LIMIT), Watcher(hits=1_000, denied=2)
    for outcome in (passed(0), DENIED, passed(1), DENIED, DENIED):
        tally(decided(rule, 1, outcome), watcher)
    assert [each[:2] for each in watcher.seen] == [("hits", 1), ("denied", 1), ("denied", 3)]


@pytest.mark.parametrize("cost", [0, -3])
def test_what_costs_nothing_is_not_shown(cost):
    """A peek, and a give-back."""
    watcher = Watcher()
    tally(decided(Rule(LIMIT), cost, passed(0)), watcher)
    assert watcher.seen == []


def test_an_error_of_the_watcher_costs_no_decision_and_is_not_met_by_each():
    """All is counted, the watcher's edge learns of the error, and the limit is shown again much later."""
    rule, watcher = Rule(LIMIT), Broken()
    for outcome in (passed(0), DENIED, DENIED):
        tally(decided(rule, 1, outcome), watcher)
    assert (rule.tally.total_hits, rule.tally.over_limit) == (3, 2)
    assert watcher.errors == ["hits"]


def test_an_error_at_a_denied_question_costs_no_decision():
    """A question has no threshold; its error is told all the same."""
    limit = Limit(make_rate("fixed_window", 10, 1_000_000), 10, Unit.SECOND, charge=Charging.AFTER)
    rule, watcher = Rule(limit), Broken()
    tally(decided(rule, 0, DENIED), watcher)
    assert watcher.errors == ["denied"]


def test_without_a_watcher_thresholds_stay():
    """The live view is off."""
    rule = Rule(LIMIT)
    tally(decided(rule, 5, DENIED))
    assert (rule.tally.hits_due, rule.tally.denied_due) == (1, 1)


@pytest.mark.parametrize("outcome", [passed(0), DENIED, Failure(FailureKind.TIMEOUT, "no answer")])
def test_hits_of_a_store_that_failed_are_counted(outcome):
    """Whatever was decided instead; as many as they cost."""
    rule = Rule(LIMIT)
    ask = decided(rule, 5, outcome)
    ask.failures = {0: Failure(FailureKind.TIMEOUT, "no answer")}
    tally(ask)
    assert rule.tally.failed == 5


def test_tallies_are_walked_in_parts():
    """By places, each once, also of those that were let go."""
    tallies = Tallies()
    made = [tallies.of(("d", str(number)), "", from_request=False) for number in range(7)]
    assert [each for first in range(0, tallies.places, 3) for each in tallies.part(first, 3)] == made
