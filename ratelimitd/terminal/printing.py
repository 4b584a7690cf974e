"""Lines and tables on standard output, which may be a terminal, a file or a pipe."""

import sys
from functools import cache
from io import TextIOWrapper
from typing import Final

from rich.console import Console

from .decision import decision_line, skipped_line
from .events import Event
from .frame import once
from .pages import Data
from .view import View

WIDE: Final = 160
"""Columns of output to a file or pipe: every column of the tables is shown."""

_LINES: Final = {"decision": decision_line, "skipped": skipped_line}


def print_once(data: Data, view: View) -> None:
    """Print the overview and a table, as wide as the terminal."""
    console = output()
    console.print(once(data, view, console.width))


def print_line(event: Event) -> None:
    """Print a line about an event; one that is not known has none."""
    if event.name in _LINES:
        output().print(_LINES[event.name](event.data), soft_wrap=True)


@cache
def output() -> Console:
    """Return standard output. A character that its encoding has not is written as an escape."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)
