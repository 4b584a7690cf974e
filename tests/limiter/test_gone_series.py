"""The tallies of limits that are no longer in the policy."""

import pytest

from ratelimitd.limiter import LimitRequest, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.limiter.stats import GONE_SERIES, RETIRED
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse


def policy(*keys, more=""):
    lines = "".join(f"- {{key: '{key}', rate_limit: {{unit: hour, requests_per_unit: 2}} {more}}}\n" for key in keys)
    return parse([("p.yaml", f"domain: d\ndescriptors:\n{lines}".encode())])


class Rig:
    """Tallies, and policies that come into force one after the other."""

    def __init__(self):
        self.tallies = Tallies()

    def push(self, active):
        """Bring a policy into force, as a service does; returns how often the loop turned meanwhile."""
        self.planner = Planner(active, key_maker(b"", safe=True), self.tallies, PlanOptions())
        return len(list(self.tallies.retire(active)))

    def ask(self, key, value="x"):
        """Ask once; returns the tally of the limit."""
        entries = ((key.encode(), value.encode()),)
        (charge,) = self.planner.plan(LimitRequest(b"d", (Descriptor(entries),))).charges
        charge.rule.tally.total_hits += 1
        return charge.rule.tally

    @property
    def names(self):
        return {".".join(tally.stat_key) for tally in self.tallies}


@pytest.fixture
def rig():
    return Rig()


def test_a_controller_that_invents_limits_makes_no_more_series_than_fit(rig):
    """2,000 updates, each with 30 keys that no other has: those of the policy and the last GONE_SERIES are there."""
    for update in range(2_000):
        keys = [f"u{update}-{number}" for number in range(30)]
        rig.push(policy(*keys))
        for key in keys:
            rig.ask(key)
        assert len(rig.tallies) == min(30 * (update + 1), GONE_SERIES + 30)
        assert len(rig.tallies._listed) <= GONE_SERIES + 2 * 30
    places = [tally.place for tally in rig.tallies]
    assert (len({*places}), min(places)) == (len(rig.tallies), 0)
    assert rig.names >= {f"d.u1999-{number}" for number in range(30)}


def test_the_series_of_a_removed_limit_stay_until_many_others_have_left(rig):
    """A last scrape shows how far it came; the first that left is the first to go."""
    rig.push(policy("a"))
    rig.ask("a")
    rig.push(policy("b"))
    rig.ask("b")
    keys = [f"k{number}" for number in range(GONE_SERIES - 1)]
    rig.push(policy(*keys))
    for key in keys:
        rig.ask(key)
    rig.push(policy("last"))
    assert rig.names == {"d.b", *(f"d.{key}" for key in keys)}
    assert (rig.tallies.let_go, len(rig.tallies)) == (1, GONE_SERIES)


@pytest.mark.parametrize("name", ["a", "10.0.0.1", "x:y|z"])
def test_a_limit_that_comes_back_goes_on(rig, name):
    """As one that was never away, whatever its name is in metrics; so does one that no request asks."""
    rig.push(policy(name))
    tally = rig.ask(name)
    for update in range(3):
        rig.push(policy(f"other{update}"))
    rig.push(policy(name))
    assert rig.ask(name) is tally
    rig.push(policy(*(f"k{number}" for number in range(2 * GONE_SERIES)), name))
    for number in range(2 * GONE_SERIES):
        rig.ask(f"k{number}")
    for update in range(3):
        rig.push(policy(name, f"other{update}"))
    assert rig.ask(name) is tally
    assert tally.total_hits == 3


def test_series_that_requests_make_stay(rig):
    """They have a bound of their own, and so does the one that stands for those beyond."""
    rig.tallies = Tallies(request_made=1)
    rig.push(policy("a", more=", detailed_metric: true"))
    for value in ("x", "y"):
        rig.ask("a", value)
    rig.push(policy(*(f"k{number}" for number in range(GONE_SERIES))))
    for number in range(GONE_SERIES):
        rig.ask(f"k{number}")
    rig.push(policy("b"))
    assert {"d.a_x", "d.other"} <= rig.names


def test_a_series_that_requests_make_stays_though_a_policy_named_it_before(rig):
    """The limit of one value became one of all values, each with a series: its count goes on. It has their bound."""
    for bound, stays in ((1, True), (0, False)):
        rig.tallies = Tallies(request_made=bound)
        rig.push(policy("a_x"))
        tally = rig.ask("a_x")
        rig.push(policy("a", more=", detailed_metric: true"))
        for update in range(2):
            assert rig.ask("a", "x") is tally
            keys = [f"k{update}-{number}" for number in range(GONE_SERIES)]
            rig.push(policy(*keys))
            for key in keys:
                rig.ask(key)
            rig.push(policy("a", more=", detailed_metric: true"))
            if not stays:
                break
        assert (rig.ask("a", "x") is tally) == stays


def test_a_place_is_taken_again(rig):
    """What was let go has no place, and the next tally has that one."""
    made = [rig.tallies.of(("d", str(number)), "", from_request=False) for number in range(GONE_SERIES + 2)]
    rig.push(policy("a"))
    assert [tally.place for tally in made[:2]] == [-1, -1]
    assert {rig.tallies.of(("d", f"n{number}"), "", from_request=False).place for number in range(2)} == {0, 1}
    assert (len(rig.tallies), len(list(rig.tallies))) == (GONE_SERIES + 2, GONE_SERIES + 2)


@pytest.mark.scenario("the event loop is blocked")
def test_the_loop_turns_while_tallies_are_looked_at(rig):
    """After RETIRED descriptors of the policy, and after as many tallies."""
    rig.tallies.of(("d", "a"), "", from_request=False)
    assert rig.push(policy(*(f"k{number}" for number in range(3 * RETIRED)))) == 4
    for number in range(3 * RETIRED - 1):
        rig.tallies.of(("d", f"k{number}"), "", from_request=False)
    assert rig.push(policy("a")) == 3
