"""A cluster's slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.stores.redis.slots import MASTERS, REPLICAS, SLOTS, key_in, listed, ranges, replicas, slot_of

ASKED = RedisAddress("asked", 1)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"123456789", 0x31C3),
        (b"", 0),
        (b"foo{}{bar}", 8363),
        (b"{user1000}.following", 3443),
        (b"user1000", 3443),
        (b"foo{{bar}}zap", 4015),
        (b"{bar", 4015),
        (b"foo{bar}{zap}", 5061),
    ],
)
def test_slot_of_a_key(key, slot):
    """Keys lie where the cluster specification's CRC16 and hash tags put them (its own examples)."""
    assert slot == slot_of(key)


@given(st.binary(max_size=20).filter(lambda prefix: b"{" not in prefix), st.integers(0, SLOTS - 1))
def test_a_key_in_any_slot(prefix, slot):
    """There is a probe key in each slot, whatever prefix an ACL requires."""
    key = key_in(prefix, slot)
    assert key.startswith(prefix)
    assert slot == slot_of(key)


def test_a_prefix_with_a_tag_decides():
    """A prefix with braces holds every key in one slot, and that of a probe is there too."""
    assert slot_of(b"{app}") == slot_of(key_in(b"{app}", 5))


def test_ranges():
    """CLUSTER SLOTS becomes the slots of each master; a host that is not named is the one that was asked."""
    reply = [
        [0, 99, [b"a", 1, b"id"], [b"replica", 9, b"id"]],
        [100, 199, [b"", 2, b"id"]],
        [300, 300, [b"a", 1, b"id"]],
        [301, 302, [None, 3, b"id", []]],
        [303, 303, [b"?", 4, b"id", [b"ip", b"10.0.0.4"]]],
        [304, 304, [b"?", 5, b"id", []]],
    ]
    assert {
        RedisAddress("a", 1): [range(100), range(300, 301)],
        RedisAddress("asked", 2): [range(100, 200)],
        RedisAddress("asked", 3): [range(301, 303)],
        RedisAddress("10.0.0.4", 4): [range(303, 304)],
        RedisAddress("asked", 5): [range(304, 305)],
    } == ranges(reply, ASKED)


@pytest.mark.parametrize(
    "reply",
    [
        *(b"OK", 3, [[1]], [[1, 2, 3]], [[b"a", 2, [b"h", 1]]], None),
        *([[first, last, [b"h", 1]]] for first, last in [(-1, 5), (5, 0), (0, SLOTS), (0, 10**13)]),
        *([[0, 5, [b"h", port]]] for port in (-1, 65_536, 1.5, b"1")),
        [[0, 0, [b"h", 1]]] * (SLOTS + 1),
        [[0, SLOTS - 1, [b"h", 1]], [5, 5, [b"i", 1]]],
        [[slot, slot, [b"h", slot]] for slot in range(MASTERS + 1)],
    ],
)
def test_no_ranges(reply):
    """Another reply is one error, whatever it is."""
    with pytest.raises(ValueError, match="CLUSTER SLOTS"):
        ranges(reply, ASKED)


def test_replicas():
    """Replicas are named beside their master; of one master no more are looked at than any has."""
    reply = [
        [0, 99, [b"a", 1, b"id"], [b"", 9, b"id"]],
        [100, 199, [b"b", 2, b"id"], *[[b"c", 3 + n] for n in range(99)]],
    ]
    found = {RedisAddress("asked", 9), *(RedisAddress("c", 3 + number) for number in range(REPLICAS))}
    assert replicas(reply, ASKED) == found


def test_listed():
    """CLUSTER NODES names servers by address and host name, also without slots, but none that was not met."""
    reply = b"""\
a 10.0.0.1:1@11 myself,master - 0 0 1 connected 0-5
b 10.0.0.2:2@12,name,shard-id=5 master - 0 0 1 connected
c :3@13 master - 0 0 1 connected
d ::1:4@14 slave,fail a 0 0 1 connected
e 10.0.0.5:5@15 handshake - 0 0 1 connected
f :0@0 master,noaddr - 0 0 1 connected
"""
    named = {
        *(RedisAddress(host, 1) for host in ("10.0.0.1", "asked")),
        *(RedisAddress(host, 2) for host in ("10.0.0.2", "name", "asked")),
        RedisAddress("asked", 3),
        *(RedisAddress(host, 4) for host in ("::1", "asked")),
    }
    assert listed(reply, ASKED) == named


@pytest.mark.parametrize("reply", [b"OK", 3, None, [], b"a b c", b"\xff", b"a h:x@1 master"])
def test_no_list(reply):
    """Another reply is one error, whatever it is."""
    with pytest.raises(ValueError, match="CLUSTER NODES"):
        listed(reply, ASKED)
