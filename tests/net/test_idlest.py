"""Which member is idle longest, and what it costs to find it."""

import random

import pytest

from ratelimitd.net import idlest
from ratelimitd.net.idlest import FRESH, Idlest


class Member:
    """A connection; ``idle_since`` is looked at as the search does, and counted."""

    looks = 0

    def __init__(self, name=""):
        self.name = name
        self.asked = False
        self.since = None

    @property
    def idle_since(self):
        Member.looks += 1
        return self.since

    def called(self, now):
        self.asked, self.since = True, now

    def begin(self):
        self.asked, self.since = True, None


def filled(*names, now=0.0):
    members = {name: Member(name) for name in names}
    found = Idlest()
    for member in members.values():
        found.add(member, now)
    return found, members


def name_of(found, now, *patience):
    member = found.find(now, *patience)
    return member and member.name


def test_one_without_a_call_goes_first():
    """Then the one whose last call is longest ago, in whatever order they came."""
    found, members = filled("a", "b", "c")
    members["a"].called(50.0)
    members["c"].called(40.0)
    order = []
    while member := found.find(100.0):
        order.append(member.name)
        found.discard(member)
    assert order == ["b", "c", "a"]


def test_a_new_one_has_time_for_its_first_call():
    """Until then it goes after those that are idle longer; after that it goes first."""
    found, members = filled("old", now=0.0)
    members["old"].called(5.0)
    found.add(Member("new"), 100.0)
    assert name_of(found, 100.0 + FRESH / 2) == "old"
    assert name_of(found, 100.0 + FRESH) == "new"


def test_a_call_in_flight_keeps_the_place():
    """A member with one never goes, and may go again when the call is over."""
    found, members = filled("a", "b")
    for member in members.values():
        member.begin()
    assert found.find(10.0) is None
    members["b"].since = 0.0
    assert name_of(found, 20.0) == "b"


@pytest.mark.parametrize(("age", "goes"), [(1.9, None), (2.0, "a")])
def test_patience(age, goes):
    """A member that is idle for less time does not go."""
    found, _ = filled("a")
    assert name_of(found, age, 2.0) == goes


def test_it_is_the_one_that_a_sort_finds():
    """Whatever calls came in between: the idlest of all, each time."""
    rng = random.Random(7)
    found, members = filled(*map(str, range(60)))
    now = 10.0
    for member in members.values():
        member.called(now)
    for _ in range(2_000):
        now += rng.random()
        member = rng.choice(list(members.values()))
        if rng.random() < 0.3:
            member.begin()
        else:
            member.called(now)
        if rng.random() < 0.5:
            idle = [each for each in members.values() if each.since is not None]
            assert found.find(now) is min(idle, key=lambda each: each.since, default=None)


def test_a_search_costs_no_walk_over_all():
    """Ten thousand members: one search looks at a bounded part, and each further look is paid for by a call."""
    found, members = filled(*map(str, range(10_000)))
    for turn, member in enumerate(members.values()):
        member.called(10.0 + turn / 10_000)
    Member.looks = 0
    assert found.find(20.0) is not None
    assert Member.looks <= idlest.LOOKS
    for _ in range(40):
        found.find(20.0)
    Member.looks = 0
    for _ in range(100):
        assert name_of(found, 20.0) == "0"
    assert Member.looks == 100


def test_former_members_leave_nothing():
    """What was noted of members that are gone is dropped."""
    found, members = filled(*map(str, range(5_000)))
    for member in members.values():
        member.called(1.0)
    for _ in range(10):
        found.find(2.0)
    for member in members.values():
        found.discard(member)
    assert (len(found), len(found._heap) <= idlest.LOOKS) == (0, True)
    assert found.find(3.0) is None
