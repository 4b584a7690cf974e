"""Which client gives way when a bounded number of places is taken. Pure."""

import random
from collections import Counter

from ratelimitd.limiter.waiting_places import WaitingPlaces


def filled(**numbers):
    places = WaitingPlaces()
    for client, number in numbers.items():
        for place in range(number):
            places.add(client, f"{client}{place}")
    return places


def test_the_client_with_most_places_gives_up_its_newest():
    """To one that has fewer also then; never to itself, and not for the difference of one place."""
    places = filled(greedy=5, modest=2)
    assert places.giving_way("new") == places.giving_way("modest") == "greedy4"
    assert places.giving_way("greedy") is None
    assert filled(a=2, b=1).giving_way("b") is None
    assert filled(a=2).giving_way("b") == "a1"
    assert filled(a=1).giving_way("b") is None
    assert WaitingPlaces().giving_way("b") is None


def test_places_that_are_given_back_count_no_more():
    """The newest of those that are left gives way; a client without a place is forgotten."""
    places = filled(a=4, b=3)
    places.remove("a", "a3")
    places.remove("a", "a1")
    assert (places.taken, places.giving_way("c")) == (5, "b2")
    for place in range(3):
        places.remove("b", f"b{place}")
    assert places.giving_way("c") == "a2"
    for place in (0, 2):
        places.remove("a", f"a{place}")
    assert (places.taken, places._of, places._with) == (0, {}, {})


def test_any_course_of_events_gives_way_as_counting_all_would():
    """The client with the most taken, whatever came and went before."""
    chance = random.Random(17)
    places, taken = WaitingPlaces(), []
    for number in range(3_000):
        if taken and chance.random() < 0.48:
            client, place = taken.pop(chance.randrange(len(taken)))
            places.remove(client, place)
        else:
            taken.append((f"c{chance.randrange(9)}", number))
            places.add(*taken[-1])
        counts = Counter(client for client, _ in taken)
        most = max(counts.values(), default=0)
        out = places.giving_way("new")
        if most < 2:
            assert out is None
        else:
            assert out in {max(p for c, p in taken if c == client) for client in counts if counts[client] == most}
