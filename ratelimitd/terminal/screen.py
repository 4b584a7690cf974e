"""The terminal while the view fills it; it is left as it was found, whatever ends the view."""

import os
import signal
import sys
import termios
import tty
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live

READ_BYTES: Final = 1024
"""Bytes of one read: a key has up to 6, and a pasted line is read in parts."""


def usable(console: Console) -> bool:
    """Return whether standard input and output are a terminal that can be drawn on."""
    return sys.stdin.isatty() and console.is_terminal and not console.is_dumb_terminal


class Screen:
    """The alternate screen, with keys that arrive at once and unseen; a context manager.

    Attributes:
        input: file descriptor of what is typed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.input: Final = sys.stdin.fileno()
        self._before = termios.tcgetattr(self.input)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        try:
            self._take()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        return self._console.size

    def draw(self, made: RenderableType) -> None:
        """Fill the screen."""
        if self._live is not None:
            self._live.update(made, refresh=True)

    def read(self) -> bytes:
        """Return what was typed; b"" if the terminal is gone."""
        try:
            return os.read(self.input, READ_BYTES)
        except OSError:
            return b""

    def suspend(self) -> None:
        """Give the terminal back, stop as Ctrl-Z asks, and take the terminal again when the shell goes on."""
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def _take(self) -> None:
        tty.setcbreak(self.input)
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def _leave(self) -> None:
        live, self._live = self._live, None
        with suppress(OSError):  # the terminal is gone
            if live is not None:
                live.stop()
        with suppress(termios.error):
            termios.tcsetattr(self.input, termios.TCSADRAIN, self._before)
