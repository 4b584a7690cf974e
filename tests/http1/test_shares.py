"""Shares of the connections of a pool. Pure."""

import random
from collections import Counter

import pytest

from ratelimitd.http1.shares import Shares


def held(shares, client):
    """Take connections until a client may hold no other."""
    count = 0
    while shares.take(client):
        count += 1
    return count


@pytest.mark.parametrize(
    ("most", "each"), [(1, [1, 0]), (2, [1, 1, 0]), (3, [2, 1, 0]), (512, [256, 128, 64, 32, 16, 8, 4, 2, 1, 1, 0])]
)
def test_a_client_holds_no_more_than_are_free(most, each):
    """One after the other: each takes half of what is left, and there is one for the next."""
    shares = Shares(most, 8)
    assert [held(shares, f"client {turn}") for turn in range(len(each))] == each


def test_clients_that_come_together_have_equal_parts():
    """Two that want all have a third each."""
    shares = Shares(99, 8)
    had = Counter(client for _ in range(99) for client in "ab" if shares.take(client))
    assert had == {"a": 33, "b": 33}


@pytest.mark.parametrize(("of_one", "most"), [(3, 3), (10, 10), (11, 10)])
def test_a_number_in_place_of_the_share(of_one, most):
    """It holds whether others are free or not, and may be all of them."""
    shares = Shares(10, 8, of_one)
    assert held(shares, "a") == most


def test_what_is_given_back_is_free():
    """For the same client, too; nothing is kept of a client that holds nothing."""
    shares = Shares(4, 8)
    assert held(shares, "a") == 2
    for _ in range(2):
        shares.give_back("a")
    assert (shares._held, shares._taken) == ({}, 0)
    assert held(shares, "b") == 2


def test_one_client_does_not_fill_the_queue():
    """It has three of four places; another client has one; then nobody has."""
    shares = Shares(1, 8)
    waiting = [shares.wait(f"a{turn}", "a") for turn in range(8)]
    assert waiting.count(True) == 6
    assert not shares.full
    assert [shares.wait(name, name) for name in ("b", "c", "d")] == [True, True, False]
    assert shares.full


def test_the_client_that_holds_least_is_next():
    """Then the one that waits longest; of one client, the oldest request."""
    shares = Shares(6, 8)
    assert held(shares, "a") == 3
    assert held(shares, "b") == 2
    assert held(shares, "c") == 1
    for request in ("a1", "c1", "b1", "c2", "b2"):
        assert shares.wait(request, request[0])
    assert shares.next() is None
    shares.give_back("a")
    assert shares.next() is None  # the one that is free is for a client that holds none
    shares.give_back("a")
    assert shares.next() == ("c1", "c")
    shares.give_back("a")
    assert shares.next() == ("a1", "a")
    assert shares.next() is None
    shares.give_back("c")
    assert shares.next() == ("c2", "c")
    assert shares.wait("d1", "d")
    assert shares.next() == ("d1", "d")
    shares.give_back("a")
    shares.give_back("c")
    assert shares.next() is None
    shares.give_back("c")
    assert [shares.next(), shares.next()] == [("b1", "b"), None]


def test_a_request_that_left_is_not_next():
    """Nor does it hold a place in the queue."""
    shares = Shares(1, 1)
    assert shares.take("a")
    assert shares.wait("1", "b")
    assert not shares.wait("2", "c")
    shares.leave("1")
    shares.leave("1")
    assert shares.wait("2", "c")
    shares.give_back("a")
    assert shares.next() == ("2", "c")
    assert shares.next() is None


@pytest.mark.parametrize("seed", range(20))
def test_no_step_breaks_the_bounds(seed):
    """Of any row of steps: no more than there are, no place lost, and a client that holds none gets what is free."""
    chance = random.Random(seed)
    shares, holds, waits = Shares(8, 6, chance.choice([None, 3])), Counter(), {}
    for step in range(2_000):
        client = chance.choice("abcde")
        kind = chance.randrange(4)
        if kind == 0:
            if shares.take(client):
                holds[client] += 1
            elif shares.wait(step, client):
                waits[step] = client
        elif kind == 1 and holds[client]:
            shares.give_back(client)
            holds[client] -= 1
        elif kind == 2 and waits:
            left = chance.choice(list(waits))
            shares.leave(left)
            del waits[left]
        while (found := shares.next()) is not None:
            assert waits.pop(found[0]) == found[1]
            holds[found[1]] += 1
        assert holds.total() <= 8
        assert len(waits) <= 6
        assert holds.total() == 8 or all(holds[each] for each in waits.values())
    for client in holds.elements():
        shares.give_back(client)
    for left in waits:
        shares.leave(left)
    assert not any((shares._taken, shares._held, shares._waiting, shares._queues, shares._lines))
