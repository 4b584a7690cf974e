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


def listen_tcp(host: str, port: int) -> tuple[socket.socket, str]:
    """Bind ``host``; port 0 takes a free one. Returns the socket and ``host:port``; OSError when it cannot be had.

    SO_REUSEPORT stays off: it would hide a second instance on the same port.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = family is socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(where[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise OSError(f"cannot listen on {address(host, port)}: {error.strerror or error}") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return listening, address(host, listening.getsockname()[1])


def listen_unix(path: str) -> tuple[socket.socket, str]:
    """Bind a socket file, in place of one nobody listens on. Returns the socket and ``unix:path``."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale(path)
        listening.bind(path)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    return listening, f"unix:{path}"


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
