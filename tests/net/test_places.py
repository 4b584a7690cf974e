"""Who gets a place of a listener, and who makes room."""

import pytest

from ratelimitd.net.peers import Peer, network_of, peers, plain
from ratelimitd.net.places import Bounds, Full, Places, Room

A, B, C = (Peer(f"10.0.0.{last}", exempt=False) for last in (1, 2, 3))
UNIX, BALANCER = Peer("", exempt=True), Peer("10.9.9.9", exempt=True)


class Member:
    """A connection that was idle since a time, or has a call in flight (None)."""

    def __init__(self, since):
        self.asked, self.idle_since = True, since


def filled(bounds, *held):
    """Places in which each peer has so many idle connections; the first to come was idle longest."""
    places, members = Places(bounds), []
    for peer, number in held:
        for _ in range(number):
            assert places.make_room(peer, 0.0).refused is None
            members.append(Member(float(len(members))))
            places.enter(members[-1], peer, 0.0)
    return places, members


def test_free_places_are_anybodys():
    """One address may have all of them while no other wants one."""
    places, members = filled(Bounds(8), (A, 8))
    assert len(places) == 8
    assert list(places) == members


def test_the_idlest_makes_room():
    """In full places of many addresses it is closed, and has no place any more."""
    places, members = filled(Bounds(4), (A, 1), (B, 1), (C, 1), (UNIX, 1))
    assert places.make_room(Peer("10.0.0.4", exempt=False), 100.0) == Room(closes=members[0])
    assert (members[0] in places, len(places), places.made_room) == (False, 3, 1)


def test_an_address_over_its_share_makes_room_first():
    """Even if a connection of another address is idle longer."""
    places, members = filled(Bounds(8), (B, 2), (A, 6))
    assert places.make_room(C, 100.0) == Room(closes=members[2])


def test_the_one_with_most_makes_room_first():
    """Of two addresses over their share."""
    places, members = filled(Bounds(8), (B, 3), (A, 5))
    assert places.make_room(C, 100.0) == Room(closes=members[3])


def test_an_address_over_its_share_takes_places_of_its_own_alone():
    """The idlest of the newcomer's address makes room, whatever others do."""
    places, members = filled(Bounds(8), (B, 6), (A, 2))
    assert places.make_room(A, 100.0) == Room(closes=members[6])


def test_an_address_over_its_share_is_refused_before_others():
    """While all its connections have calls in flight it gets no place, and another address gets one."""
    places, members = filled(Bounds(8), (B, 6), (A, 2))
    for member in members[6:]:
        member.idle_since = None
    assert places.make_room(A, 100.0) == Room(refused=Full.ADDRESS)
    assert places.make_room(C, 100.0) == Room(closes=members[0])


def test_the_share_is_a_quarter():
    """An address with a quarter less one takes a place of others, one with a quarter does not."""
    places, members = filled(Bounds(16), (B, 13), (A, 3))
    assert places.make_room(A, 100.0) == Room(closes=members[0])
    places.enter(Member(20.0), A, 100.0)
    assert places.make_room(A, 100.0) == Room(closes=members[13])


@pytest.mark.parametrize("exempt", [UNIX, BALANCER])
def test_exempt_peers_have_no_share(exempt):
    """They make room like all others, by idle time, and not before."""
    places, members = filled(Bounds(8), (B, 1), (exempt, 7))
    assert places.make_room(exempt, 100.0) == Room(closes=members[0])
    places.enter(Member(200.0), exempt, 100.0)
    assert places.make_room(exempt, 100.0) == Room(closes=members[1])


def test_nothing_makes_room_while_all_have_calls():
    """Then a newcomer is refused, of an exempt peer too: the total is nobody's."""
    places, members = filled(Bounds(4), (A, 1), (B, 1), (UNIX, 2))
    for member in members:
        member.idle_since = None
    assert places.make_room(C, 100.0) == Room(refused=Full.CONNECTIONS)
    assert places.make_room(UNIX, 100.0) == Room(refused=Full.CONNECTIONS)


def test_spare_places_are_kept_free_by_asking():
    """Past them the idlest is asked to leave and keeps its place; each newcomer asks one."""
    places, members = filled(Bounds(10, spare=2), (A, 2), (B, 2), (C, 2), (UNIX, 2))
    assert places.make_room(UNIX, 100.0) == Room(leaves=members[0])
    places.enter(Member(50.0), UNIX, 100.0)
    assert places.make_room(UNIX, 100.0) == Room(leaves=members[1])
    places.enter(Member(50.0), UNIX, 100.0)
    assert (len(places), members[0] in places) == (10, True)


def test_the_one_asked_first_is_closed_when_all_places_are_taken():
    """And the next is asked, so that others keep theirs; what has a call by then is not closed."""
    places, members = filled(Bounds(10, spare=2), (A, 2), (B, 2), (C, 2), (UNIX, 2))
    for _ in range(2):
        places.make_room(UNIX, 100.0)
        places.enter(Member(50.0), UNIX, 100.0)
    members[0].idle_since = None
    assert places.make_room(UNIX, 100.0) == Room(leaves=members[2], closes=members[1])
    assert (len(places), places.made_room) == (9, 3)


def test_a_place_is_free_again_when_its_connection_is_gone():
    """Also one that was asked to leave; leaving twice is leaving once."""
    places, members = filled(Bounds(4, spare=1), (A, 1), (B, 1), (C, 1))
    assert places.make_room(UNIX, 100.0).leaves is members[0]
    places.enter(Member(0.0), UNIX, 100.0)
    for _ in range(2):
        places.leave(members[0])
        places.leave(members[1])
    assert len(places) == 2
    assert places.make_room(UNIX, 100.0) == Room()


def test_a_bound_of_each_address():
    """It holds while places are free, too."""
    places, _ = filled(Bounds(100, per_address=2), (A, 2))
    assert places.make_room(A, 1.0) == Room(refused=Full.ADDRESS)
    assert places.make_room(B, 1.0) == Room()


def test_a_bound_of_each_address_is_not_that_of_an_exempt_one():
    """It stands for many clients."""
    places, _ = filled(Bounds(100, per_address=2), (BALANCER, 2))
    assert places.make_room(BALANCER, 1.0) == Room()


def test_other_bounds_apply_to_the_next():
    """Fewer places: those that are too many make room one by one; the share is that of the new total."""
    places, members = filled(Bounds(16), (A, 5), (B, 3))
    places.bounds = Bounds(8)
    assert places.make_room(C, 100.0) == Room(closes=members[0])
    assert places.make_room(C, 100.0) == Room()


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("10.0.0.1", 5), A),
        (("::ffff:10.0.0.1", 5, 0, 0), A),
        (("2001:db8::1", 5, 0, 0), Peer("2001:db8::/64", exempt=False)),
        (("2001:db8::ffff:1:2:3", 5, 0, 0), Peer("2001:db8::/64", exempt=False)),
        (("2001:db8:0:1::1", 5, 0, 0), Peer("2001:db8:0:1::/64", exempt=False)),
        (("fe80::1%eth0", 5, 0, 2), Peer("fe80::/64", exempt=False)),
        (("10.9.9.9", 5), BALANCER),
        (("::ffff:10.9.9.9", 5, 0, 0), BALANCER),
        (("fd00::7", 5, 0, 0), Peer("fd00::/64", exempt=True)),
        ("", UNIX),
        (b"", UNIX),
    ],
)
def test_peers(address, peer):
    """IPv4 is one address in either form, an IPv6 host has its network of 64 bits; trusted ones are exempt."""
    assert peers(("10.9.9.9/32", "fd00::/8"))(address) == peer


@pytest.mark.parametrize(
    ("shown", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:1", "::ffff:1"),
        ("::1.2.3.4", "::1.2.3.4"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", ""),
    ],
)
def test_the_plain_address_of_a_peer(shown, address):
    """IPv4 in the form of IPv6, as a socket of both families shows it, is IPv4; a zone is none of it."""
    assert plain(shown) == address


@pytest.mark.parametrize(
    ("address", "network"),
    [("10.0.0.1", "10.0.0.1"), ("2001:db8::1", "2001:db8::/64"), ("", ""), ("no:address", "no:address")],
)
def test_what_has_one_share(address, network):
    """An IPv4 address, or the network that an IPv6 host has to itself."""
    assert network_of(address) == network
