"""Listening sockets: which address a host means, and what an error says."""

import errno
import socket
from contextlib import ExitStack

import pytest

from ratelimitd.net import listen
from ratelimitd.net.listen import bind, bind_each, bind_unix, local_address, overlap, reaches
from tests.service import has_ipv6

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no ::1")

V4, V6 = (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0, 0, 0))


@pytest.mark.parametrize("listed", [(V4, V6), (V6, V4)])
def test_a_name_with_both_families_means_ipv4(listed, monkeypatch):
    """Whatever the resolver lists first, or two ports of one process would differ from host to host."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, 1, 6, "", where) for family, where in listed])
    assert local_address("localhost", 80) == (socket.AF_INET, ("127.0.0.1", 80))


def test_a_name_of_ipv6_alone_means_ipv6(monkeypatch):
    """IPv4 is preferred, not demanded."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(V6[0], 1, 6, "", V6[1])])
    with bind("ip6-localhost", 0) as listening:
        assert listening.getsockname()[0] == "::1"


@pytest.mark.parametrize("host", ["", "::"])
def test_every_address_is_both_families(host):
    """A kubelet probes either family."""
    with bind(host, 0) as listening:
        port = listening.getsockname()[1]
        for reached in ("127.0.0.1", "::1"):
            socket.create_connection((reached, port)).close()


def test_a_host_without_ipv6_takes_ipv4(monkeypatch):
    """An empty host is every address there is."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with bind("", 0) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


def test_a_port_is_listened_on_at_once():
    """No second instance can take it (SO_REUSEPORT is off), and a peer that vanished is found (SO_KEEPALIVE)."""
    with bind("127.0.0.1", 0) as listening:
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        port = listening.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use") as caught:
            bind("127.0.0.1", port)
    assert caught.value.errno == errno.EADDRINUSE


def test_an_ipv6_address_is_bracketed_in_errors():
    """RFC 3986 3.2.2: host and port can be told apart."""
    with bind("::1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on \[::1\]:{port}: "):
            bind("::1", port)


@needs_ipv6
@pytest.mark.parametrize("host", ["", "::"])
def test_an_error_of_every_address_says_so(host):
    """A program on 127.0.0.1 alone is in the way of a listener on both families."""
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        told = f":{port}, which is every IPv4 and IPv6 address of this host: Address already in use"
        with pytest.raises(OSError, match=told):
            bind(host, port)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("", "127.0.0.1", True),
        ("", "::1", True),
        ("::", "0.0.0.0", True),
        ("::", "a-name", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "a-name", True),
        ("0.0.0.0", "::1", False),
        ("127.0.0.1", "::1", False),
        ("localhost", "::1", True),
        ("localhost", "127.0.0.1", True),
        ("localhost", "192.0.2.1", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_hosts_that_have_an_address_in_common(one, other, same):
    """Every address is both families, 0.0.0.0 is IPv4 alone."""
    assert overlap(one, other) == overlap(other, one) == same


@pytest.mark.parametrize(
    ("client", "listening", "reached"),
    [
        ("::1", "", True),
        ("::1", "0.0.0.0", False),
        ("127.0.0.1", "::1", False),
        ("localhost", "0.0.0.0", True),
        ("app", "", False),
    ],
)
def test_what_a_client_on_this_host_reaches(client, listening, reached):
    """A name other than localhost may be that of another host."""
    assert reaches(client, listening) == reached


def test_a_host_that_is_none_is_an_error_that_names_it():
    """Not a traceback out of a resolver."""
    with pytest.raises(OSError, match=r"cannot listen on no such host:80: "):
        bind("no such host", 80)


def test_a_socket_file_in_use_is_an_error_that_names_it(tmp_path):
    """One whose service ended is replaced, one that answers stays."""
    path = str(tmp_path / "s")
    bind_unix(path).close()
    with bind_unix(path), pytest.raises(OSError, match=f"cannot listen on unix:{path}: ") as caught:
        bind_unix(path)
    assert caught.value.errno == errno.EADDRINUSE


def reached(socks):
    """The addresses that listen, and their ports."""
    return {sock.getsockname()[0] for sock in socks}, {sock.getsockname()[1] for sock in socks}


@pytest.fixture
def bound():
    """Binds, and closes at the end."""
    with ExitStack() as stack:

        def make(host, port=0):
            socks = bind_each(host, port)
            for sock in socks:
                stack.callback(sock.close)
            return socks

        yield make


@needs_ipv6
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
def test_localhost_is_both_families_with_one_port(bound, host):
    """A port-forward may connect to either, and a free port is one number."""
    addresses, ports = reached(bound(host))
    assert (addresses, len(ports)) == ({"127.0.0.1", "::1"}, 1)
    again = ports.pop()
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{again}: Address already in use"):
        bound(host, again)


def test_any_other_host_is_one_address(bound):
    """As ``bind`` reads it."""
    assert reached(bound("127.0.0.1"))[0] == {"127.0.0.1"}


@needs_ipv6
@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
@pytest.mark.parametrize(("absent", "left"), [("::1", {"127.0.0.1"}), ("127.0.0.1", {"::1"})])
def test_localhost_without_a_family_is_the_other(bound, monkeypatch, absent, left, number):
    """A kernel may have only one of them."""
    lose(monkeypatch, absent, number)
    assert reached(bound("localhost"))[0] == left


def test_localhost_without_any_family_is_an_error(monkeypatch):
    """There is nothing to listen on."""
    lose(monkeypatch, "127.0.0.1", errno.EADDRNOTAVAIL)
    lose(monkeypatch, "::1", errno.EADDRNOTAVAIL)
    with pytest.raises(OSError, match="gone"):
        bind_each("localhost", 0)


def lose(monkeypatch, absent, number, times=1 << 30):
    """Let the next binds of an address fail."""
    real, left = listen.bind, [times]

    def without(host, port):
        if host == absent and left[0]:
            left[0] -= 1
            raise OSError(number, "gone")
        return real(host, port)

    monkeypatch.setattr(listen, "bind", without)


@needs_ipv6
@pytest.mark.parametrize("times", [1, listen.FREE_TRIES])
def test_a_free_port_is_free_in_both_families(bound, monkeypatch, times):
    """Another one is tried if it is not, and not for ever; and no socket stays open."""
    lose(monkeypatch, "::1", errno.EADDRINUSE, times)
    if times < listen.FREE_TRIES:
        assert reached(bound("localhost"))[0] == {"127.0.0.1", "::1"}
    else:
        with pytest.raises(OSError, match="gone"):
            bound("localhost")


@needs_ipv6
def test_a_set_port_that_one_family_uses_is_an_error(bound):
    """It names the address, and the other family is free again."""
    with bind("::1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on \[::1\]:{port}: Address already in use"):
            bound("localhost", port)
        bind("127.0.0.1", port).close()
