"""When the write buffer of a connection is empty.

Over TLS the transport below has a buffer of its own, of which the loops tell nothing: the call comes while it may hold
its bound of 64 KiB and the last write.
"""

import asyncio
from collections.abc import Callable

from .options import HIGH_WATER


class WhenEmpty:
    """Makes one call when the buffer is empty, or the connection is lost."""

    __slots__ = ("_call",)

    def __init__(self) -> None:
        self._call: Callable[[], None] | None = None

    def wait(self, transport: asyncio.Transport | None, call: Callable[[], None]) -> None:
        """Make this call: at once, or by ``reached``. Until then the transport has its protocol pause writing."""
        if transport is None or not transport.get_write_buffer_size():
            call()
            return
        self._call = call
        transport.set_write_buffer_limits(high=0)

    def reached(self, transport: asyncio.Transport | None) -> None:
        """Make the call: the transport resumes writing, or is None since the connection is lost."""
        call, self._call = self._call, None
        if call is None:
            return
        if transport is not None:
            transport.set_write_buffer_limits(high=HIGH_WATER)
        call()
