"""Whose request it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.gateway.client_address import canonical, client_address, trust

TRUSTS = trust(["10.0.0.0/8", "2001:db8::/32"])


def test_a_long_text_is_no_address_and_is_not_kept():
    """The longest address with a port is one; a cache keyed by what clients send keeps nothing longer."""
    longest = b"[2001:0db8:ffff:ffff:ffff:ffff:255.255.255.255]:65535"
    assert client_address("10.0.0.1", [longest], TRUSTS) == "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
    held = canonical.cache_info().currsize
    for number in range(10):
        assert client_address("10.0.0.1", [b"%d" % number * 30_000], TRUSTS) == "10.0.0.1"
    assert canonical.cache_info().currsize <= held + 1


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("1.1.1.1", [b"9.9.9.9"], "1.1.1.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", [b"8.8.8.8, 9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", [b"8.8.8.8, 9.9.9.9, 10.1.1.1"], "9.9.9.9"),
        ("10.0.0.1", [b"8.8.8.8", b"10.1.1.1"], "8.8.8.8"),
        ("10.0.0.1", [b"10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.0.0.1", [b"9.9.9.9, garbage, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", [b"9.9.9.9, "], "10.0.0.1"),
        ("10.0.0.1", [b"9.9.9.9:1234"], "9.9.9.9"),
        ("10.0.0.1", [b"[2a00::1]:443"], "2a00::1"),
        ("10.0.0.1", [b"[2a00::1]"], "2a00::1"),
        ("10.0.0.1", [b"2A00:0::1"], "2a00::1"),
        ("10.0.0.1", [b"::ffff:9.9.9.9"], "9.9.9.9"),
        ("::ffff:10.0.0.1", [b"9.9.9.9"], "9.9.9.9"),
        ("2001:db8::1", [b"9.9.9.9"], "9.9.9.9"),
        ("fe80::1%eth0", [b"9.9.9.9"], "fe80::1"),
        ("10.0.0.1", [b"fe80::1%anything"], "10.0.0.1"),
        ("10.0.0.1", [b"\xff"], "10.0.0.1"),
        ("", [b"9.9.9.9"], ""),
    ],
)
def test_the_first_address_from_the_right_that_is_not_trusted_is_the_client(peer, forwarded, client):
    """Lines are one list, a port does not count, and what is no address ends the walk."""
    assert client_address(peer, forwarded, TRUSTS) == client


def test_nobody_is_trusted_by_default():
    """Without networks the peer is the client, whatever it says."""
    assert client_address("127.0.0.1", [b"9.9.9.9"], trust([])) == "127.0.0.1"


@given(st.binary(max_size=60))
def test_whatever_a_header_holds_the_client_is_an_address(forwarded):
    """Nothing raises, and no text of a caller's becomes an address."""
    client = client_address("10.0.0.1", [forwarded], TRUSTS)
    assert canonical(client) == client
