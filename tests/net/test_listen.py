"""Listening sockets: which address a host means, and what an error says."""

import errno
import socket

import pytest

from ratelimitd.net.listen import bind, bind_unix, local_address

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
