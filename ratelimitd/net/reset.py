"""Closing a connection by a reset."""

import asyncio
import socket
import struct
from typing import Final

NO_TIME: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, no time."""


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Let a close send a reset, where an orderly end would be taken for the end of a body."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
