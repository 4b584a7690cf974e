"""Listening sockets."""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

BACKLOG = 1024
"""Connections that the kernel queues before they are accepted; all Envoy workers of a mesh may reconnect at once."""


LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not bound
"""Addresses of all interfaces, each with one that reaches it on this host."""

EVERY_ADDRESS: Final = ("", "::")
"""Hosts of a listener for both families."""

EVERY_IPV4: Final = "0.0.0.0"  # noqa: S104 -- compared, not bound

BOTH: Final = ("127.0.0.1", "::1")
"""Addresses of ``localhost`` for ``bind_each``."""

FAMILIES: Final = ", which is every IPv4 and IPv6 address of this host"
"""Told when such an address cannot be bound: a program on 127.0.0.1 alone is in its way."""

ABSENT: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))
"""Errors of a family that the kernel does not have, or that is turned off."""

FREE_TRIES: Final = 16
"""Attempts to find a port that is free in both families; most ports are."""

THIS_HOST: Final = frozenset(("localhost", "127.0.0.1", "::1"))
"""Names of this host for a client on it."""


class SocketFile(NamedTuple):
    """Identity of a socket file of this process, which another process may replace with its own."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "SocketFile":
        """Return the identity of the file that was just bound."""
        stat = Path(path).stat()
        return cls(path, stat.st_dev, stat.st_ino)

    def remove(self) -> None:
        """Remove it, unless it is missing or was replaced."""
        with suppress(FileNotFoundError):
            if SocketFile.of(self.path) == self:
                Path(self.path).unlink()


def address(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets (RFC 3986 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reaches(host: str, listening: str) -> bool:
    """Whether a client of ``host`` on this machine certainly reaches a listener of this address."""
    return host == listening or (host in THIS_HOST and overlap(host, listening))


def overlap(one: str, other: str) -> bool:
    """Whether listeners of these two hosts have an address in common, as far as texts show it."""
    for host, against in ((one, other), (other, one)):
        if host in EVERY_ADDRESS or host == against or (host == EVERY_IPV4 and ":" not in against):
            return True
    return "localhost" in {one, other} and {one, other} <= THIS_HOST


def local_address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the address that a listener binds for ``host``; raises OSError for a name that does not resolve.

    An empty host and ``::`` mean every address, IPv4 and IPv6, if the kernel supports both: a kubelet probes either
    family. A name with addresses of both families means its first IPv4 address: the order of a resolver depends on
    the host (RFC 6724, gai.conf), and a client that is given the name tries all its addresses, while one that is
    given 127.0.0.1 tries only that.
    """
    found = socket.getaddrinfo(
        host or ("::" if socket.has_dualstack_ipv6() else None), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, where = min(found, key=lambda info: info[0] != socket.AF_INET)
    return family, (str(where[0]), port)


def bind(host: str, port: int) -> socket.socket:
    """Listen on ``local_address``; port 0 takes a free one. Raises OSError that names host and port, with its errno.

    The HTTP ports, the proxy, gRPC and doctor all use this function, so that doctor tests exactly the addresses that
    the service binds. SO_REUSEPORT stays off: it would hide a second instance on the same port. SO_KEEPALIVE is
    inherited by each connection, so a peer that vanished does not occupy its socket forever.
    """
    try:
        family, where = local_address(host, port)
        both = where[0] == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(where, family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        where_to = f"{address(host, port)}{FAMILIES if host in EVERY_ADDRESS else ''}"
        raise OSError(error.errno, f"cannot listen on {where_to}: {_cause(error)}") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return listening


def bind_each(host: str, port: int) -> list[socket.socket]:
    """Listen as ``bind`` does; ``localhost`` is 127.0.0.1 and ::1, where the kernel has both, with one port number.

    Which of the two a client takes for ``localhost`` depends on its resolver.
    """
    return _bind_both(port, FREE_TRIES) if host.lower() == "localhost" else [bind(host, port)]


def _bind_both(port: int, tries: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    for host in BOTH:
        try:
            bound.append(bind(host, bound[0].getsockname()[1] if bound else port))
        except OSError as error:
            if error.errno in ABSENT and (bound or host != BOTH[-1]):
                continue
            for sock in bound:
                sock.close()
            if bound and not port and error.errno == errno.EADDRINUSE and tries > 1:
                return _bind_both(port, tries - 1)
            raise
    return bound


def _cause(error: OSError) -> str:
    """Return the text of an error's number: that of ``create_server`` repeats the address. A resolver's is negative."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def bind_unix(path: str) -> socket.socket:
    """Listen on a socket file, and replace a stale one. Raises OSError that names it, with its errno."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale(path)
        listening.bind(path)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on unix:{path}: {_cause(error)}") from error
    return listening


def remove_stale(path: str) -> None:
    """Remove a socket file that no process listens on; raises OSError if one does."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
