"""Sockets to listen on, bound at once."""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

BACKLOG = 1024
"""Connections the kernel completes before we accept them; every Envoy worker of a mesh may come back at once."""


class SocketFile(NamedTuple):
    """A socket file that is ours: another process may put its own in its place."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "SocketFile":
        """Note the file that was just bound."""
        stat = Path(path).stat()
        return cls(path, stat.st_dev, stat.st_ino)

    def remove(self) -> None:
        """Remove it, unless it is gone or no longer ours."""
        with suppress(FileNotFoundError):
            if SocketFile.of(self.path) == self:
                Path(self.path).unlink()


def address(host: str, port: int) -> str:
    """Write ``host:port``, an IPv6 address in brackets (RFC 3986 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the one address that ``host`` means to a listener; raises OSError for a name that does not resolve.

    An empty host and ``::`` mean every address, IPv4 and IPv6, where the kernel has both: a kubelet probes either
    family. A name with addresses of both families means its first IPv4 address. The order of a resolver depends on
    the host (RFC 6724, gai.conf), and a client that was given the name tries all its addresses, while one that was
    given 127.0.0.1 tries no other.
    """
    found = socket.getaddrinfo(
        host or ("::" if socket.has_dualstack_ipv6() else None), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, where = min(found, key=lambda info: info[0] != socket.AF_INET)
    return family, (str(where[0]), port)


def bind(host: str, port: int) -> socket.socket:
    """Listen on ``local_address``; port 0 takes a free one. Raises OSError that names host and port, with its errno.

    The HTTP ports, the proxy, gRPC and doctor listen through this function, so that what doctor finds free is what
    the service takes. SO_REUSEPORT stays off: it would hide a second instance on the same port. SO_KEEPALIVE is
    inherited by each connection, so a peer that vanished does not hold its socket for ever.
    """
    try:
        family, where = local_address(host, port)
        both = where[0] == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(where, family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {address(host, port)}: {why}") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return listening


def bind_unix(path: str) -> socket.socket:
    """Listen on a socket file, in place of one whose service ended. Raises OSError that names it, with its errno."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale(path)
        listening.bind(path)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on unix:{path}: {error.strerror or error}") from error
    return listening


def remove_stale(path: str) -> None:
    """Remove the socket file of a service that ended; OSError when one still answers there."""
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
