"""Which client gives way when a bounded number of places is taken. Pure."""

import random
from collections import Counter

from ratelimitd.limiter.shares import Shares


def filled(**numbers):
    shares = Shares()
    for client, number in numbers.items():
        for place in range(number):
            shares.add(client, f"{client}{place}")
    return shares


def test_the_client_with_most_places_gives_up_its_newest():
    """To one that has fewer also then; never to itself, and not for the difference of one place."""
    shares = filled(greedy=5, modest=2)
    assert shares.giving_way("new") == shares.giving_way("modest") == "greedy4"
    assert shares.giving_way("greedy") is None
    assert filled(a=2, b=1).giving_way("b") is None
    assert filled(a=2).giving_way("b") == "a1"
    assert filled(a=1).giving_way("b") is None
    assert Shares().giving_way("b") is None


def test_places_that_are_given_back_count_no_more():
    """The newest of those that are left gives way; a client without a place is forgotten."""
    shares = filled(a=4, b=3)
    shares.remove("a", "a3")
    shares.remove("a", "a1")
    assert (shares.taken, shares.giving_way("c")) == (5, "b2")
    for place in range(3):
        shares.remove("b", f"b{place}")
    assert shares.giving_way("c") == "a2"
    for place in (0, 2):
        shares.remove("a", f"a{place}")
    assert (shares.taken, shares._of, shares._with) == (0, {}, {})


def test_any_course_of_events_gives_way_as_counting_all_would():
    """The client with the most places, whatever came and went before."""
    chance = random.Random(17)
    shares, places = Shares(), []
    for number in range(3_000):
        if places and chance.random() < 0.48:
            client, place = places.pop(chance.randrange(len(places)))
            shares.remove(client, place)
        else:
            places.append((f"c{chance.randrange(9)}", number))
            shares.add(*places[-1])
        counts = Counter(client for client, _ in places)
        most = max(counts.values(), default=0)
        out = shares.giving_way("new")
        if most < 2:
            assert out is None
        else:
            assert out in {max(p for c, p in places if c == client) for client in counts if counts[client] == most}
