"""Connections to a host by name.

uvloop's ``create_connection`` looks the name up in a future of its own. If the caller is cancelled meanwhile, by a
timeout or the end of the process, nothing awaits that future, and its error is printed much later as "Future exception
was never retrieved". So the name is looked up here, and ``create_connection`` gets a connected socket.
"""

import asyncio
import os
import socket
import ssl as tls
from collections.abc import Callable
from typing import Any, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def connect(
    protocol: Callable[[], P], host: str, port: int, *, ssl: tls.SSLContext | None, server_hostname: str | None
) -> P:
    """Connect to the first address of a host that accepts. Raises OSError: the system's, of the last."""
    sock = await _connected(host, port)
    loop = asyncio.get_running_loop()
    try:
        _, connected = await loop.create_connection(protocol, sock=sock, ssl=ssl, server_hostname=server_hostname)
    except BaseException:
        sock.close()
        raise
    return connected


async def _connected(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    problem = OSError(f"{host} has no address")
    for family, kind, number, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return await _connected_to(socket.socket(family, kind, number), address)
        except OSError as error:
            problem = OSError(error.errno, os.strerror(error.errno)) if error.errno else error
    raise problem


async def _connected_to(sock: socket.socket, address: Any) -> socket.socket:
    sock.settimeout(0.0)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
