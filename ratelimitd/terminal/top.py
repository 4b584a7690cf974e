"""``ratelimitd top``: asks a service again and again, and shows what it answers, until a key or a signal ends it."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from .amounts import clock
from .asking import LiveError, Source
from .documents import number, shown
from .frame import frame
from .gathering import Query, gathered
from .keys import Typed
from .pages import Data
from .screen import Screen
from .view import Shown, View, pressed

ESCAPE_SECONDS: Final = 0.05
"""After an escape, the rest of a key's sequence follows within this time, else the key is Esc: less than a person takes
for the next key, and more than a sequence takes through ssh. neovim waits as long (``ttimeoutlen``)."""

ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end the view; the exit code is that of a shell for a process that they kill."""

Message = bytes | Data | signal.Signals


async def top(source: Source, view: View, scope: Query, interval: float, screen: Screen) -> int:
    """Show a view until it is left; returns the exit code. Raises LiveError if the first answer is an error."""
    data = await gathered(source, view, scope)
    return await _Top(source, view, scope, interval, screen, data).run()


class _Top:
    """The view and the data, changed by one message after another: what is typed, answers, signals."""

    def __init__(self, source: Source, view: View, scope: Query, interval: float, screen: Screen, data: Data) -> None:
        self._source = source
        self._view = view
        self._scope = scope
        self._interval = interval
        self._screen = screen
        self._data = data
        self._shown = Shown()
        self._typed = Typed()
        self._escapes = 0.0  # loop time from which an escape that has begun is the key Esc
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._asked_anew = asyncio.Event()

    async def run(self) -> int:
        """Draw after each message, until one of them ends the view."""
        with _listening(self._screen, self._messages), self._screen:
            asking = asyncio.get_running_loop().create_task(self._ask())
            try:
                while True:
                    self._draw()
                    message = await self._next(asking)
                    if message in ENDING:
                        return 128 + int(message)
                    self._take(message)
                    if self._view.quit:
                        return 0
            finally:
                asking.cancel()
                with suppress(asyncio.CancelledError):
                    await asking

    def _draw(self) -> None:
        width, height = self._screen.size
        made, self._shown = frame(self._data, self._view, width, height)
        self._screen.draw(made)

    async def _next(self, asking: "asyncio.Task[None]") -> Message | None:
        """Return the next message, or None when an escape has waited long enough; raises what ended ``asking``."""
        getting = asyncio.ensure_future(self._messages.get())
        try:
            left = self._escapes - asyncio.get_running_loop().time()
            if self._typed.waiting and left <= 0:
                return None
            seconds = left if self._typed.waiting else None
            await asyncio.wait((getting, asking), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()

    def _take(self, message: Message | None) -> None:
        if message is None:
            self._press(self._typed.flush())
        elif isinstance(message, bytes):
            self._escapes = asyncio.get_running_loop().time() + ESCAPE_SECONDS
            self._press(self._typed.feed(message) if message else ["quit"] * 2)
        elif isinstance(message, Data):
            self._data = message
        elif message == signal.SIGINT:
            self._view = self._view._replace(quit=True)
        elif message == signal.SIGTSTP:
            self._screen.suspend()

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            before, self._view = self._view, pressed(self._view, key, self._shown)
            if _question(before) != _question(self._view):
                self._asked_anew.set()
                if before.opened != self._view.opened:
                    self._data = self._data._replace(details=())

    async def _ask(self) -> None:
        """Ask after each interval, and at once when the view shows something else."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._asked_anew.wait()
            self._asked_anew.clear()
            view = self._view
            try:
                data = await gathered(self._source, view, self._scope)
            except LiveError as error:
                since = clock(number(self._data.overview, "time"))
                data = self._data._replace(fault=f"no answer since {since}: {shown(str(error))}")
            if _question(view) == _question(self._view):
                self._messages.put_nowait(data)


def _question(view: View) -> tuple[object, ...]:
    """Return what a view's documents depend on."""
    return view.page, view.sort, view.ascending, view.search, view.opened


@contextmanager
def _listening(screen: Screen, messages: "asyncio.Queue[Message]") -> Iterator[None]:
    """Put what is typed, and signals, into a queue."""
    loop, typing = asyncio.get_running_loop(), screen.input

    def typed() -> None:
        data = screen.read()
        if not data:
            loop.remove_reader(typing)
        messages.put_nowait(data)

    heard = (*ENDING, signal.SIGINT, signal.SIGTSTP, signal.SIGWINCH)
    for number_of in heard:
        loop.add_signal_handler(number_of, messages.put_nowait, number_of)
    loop.add_reader(typing, typed)
    try:
        yield
    finally:
        loop.remove_reader(typing)
        for number_of in heard:
            loop.remove_signal_handler(number_of)
