"""Connections to a host by name or address.

uvloop's ``create_connection`` looks a name up in a future of its own. If the caller is cancelled meanwhile, by a
timeout or the end of the process, nothing awaits that future, and its error is printed much later as "Future exception
was never retrieved"; a cancelled attempt keeps its socket until the kernel gives up. It also tries one address after
the other, so that one without an answer takes all the time. So names are looked up here, their addresses are tried as
RFC 8305 describes, and ``create_connection`` gets a connected socket.
"""

import asyncio
import errno
import os
import socket
import ssl as tls
from asyncio.staggered import staggered_race
from collections.abc import Callable
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final, NamedTuple, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

ATTEMPT_DELAY: Final = 0.25
"""Seconds between the starts of two attempts, unless the first fails before: RFC 8305's Connection Attempt Delay."""


async def connect(
    protocol: Callable[[], P], host: str, port: int, *, ssl: tls.SSLContext | None, server_hostname: str | None
) -> P:
    """Connect to the first address of a host that accepts.

    Raises OSError: the system's, of an address that refuses if one did, otherwise of the last.
    """
    sock = await _first_of(await _addresses(host, port))
    loop = asyncio.get_running_loop()
    try:
        _, made = await loop.create_connection(protocol, sock=sock, ssl=ssl, server_hostname=server_hostname)
    except BaseException:
        sock.close()
        raise
    return made


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order of the resolver, each once. Raises OSError."""
    return list(dict.fromkeys(address.at[0] for address in await _addresses(host, port)))


_Lookup = tuple[asyncio.AbstractEventLoop, str, int]

_lookups: Final[dict[_Lookup, "asyncio.Task[list[_Address]]"]] = {}
"""Lookups in progress. uvloop has four threads for all of them, and a lookup whose caller is gone keeps its thread. So
one name takes one thread, or a name whose server does not answer would hold up all others."""


class _Address(NamedTuple):
    """What a socket is made for, and connected to."""

    family: int
    kind: int
    protocol: int
    at: Any

    async def connected(self) -> socket.socket:
        """Return a socket that is connected to it. Raises OSError."""
        sock = socket.socket(self.family, self.kind, self.protocol)
        try:
            sock.settimeout(0.0)
            await _connect(sock, self.at)
        except BaseException:
            sock.close()
            raise
        return sock


async def _connect(sock: socket.socket, at: Any) -> None:
    """Connect a socket. Raises OSError. uvloop's ``sock_connect`` would look the address up again."""
    error = sock.connect_ex(at)
    if error == errno.EINPROGRESS:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.add_writer(sock, lambda: None if done.done() else done.set_result(None))
        try:
            await done
        finally:
            loop.remove_writer(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


async def _addresses(host: str, port: int) -> list[_Address]:
    for family in (socket.AF_INET, socket.AF_INET6):
        if _is_address(family, host):
            return [_Address(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, (host, port))]
    loop = asyncio.get_running_loop()
    key = loop, host, port
    lookup = _lookups.get(key)
    if lookup is None:
        lookup = _lookups[key] = loop.create_task(_look_up(host, port))
        lookup.add_done_callback(partial(_looked_up, key))
    return await asyncio.shield(lookup)


def _looked_up(key: _Lookup, lookup: "asyncio.Task[list[_Address]]") -> None:
    del _lookups[key]
    if not lookup.cancelled():
        lookup.exception()  # it has been seen, if no caller is left to see it


async def _look_up(host: str, port: int) -> list[_Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        # Without a file to open, the resolver says that the name is unknown, or has an error of anything before.
        socket.socket().close()
        raise
    return [_Address(family, kind, number, at) for family, kind, number, _, at in found]


def _is_address(family: int, host: str) -> bool:
    try:
        return bool(socket.inet_pton(family, host))
    except (OSError, ValueError):
        return False


async def _first_of(addresses: list[_Address]) -> socket.socket:
    """Return a socket connected to the first address that accepts; the other attempts are cancelled. Raises OSError."""
    if len(addresses) == 1:
        return await addresses[0].connected()
    winner: socket.socket | None
    winner, _, errors = await staggered_race([each.connected for each in _interleaved(addresses)], ATTEMPT_DELAY)
    if winner is not None:
        return winner
    failures = [error for error in errors if isinstance(error, OSError)]
    refusals = [error for error in failures if isinstance(error, ConnectionRefusedError)]
    raise [OSError("it has no address"), *failures, *refusals][-1]


def _interleaved(addresses: list[_Address]) -> list[_Address]:
    """Alternate between the families, beginning with that of the first address (RFC 8305, 4)."""
    families: dict[int, list[_Address]] = {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    return [address for address in chain.from_iterable(zip_longest(*families.values())) if address is not None]
