"""The live view in a terminal: documents and events of ``/live/`` as tables and lines, and a full screen with keys."""

from .asking import LiveError, Source
from .events import Event
from .gathering import as_json, gathered, limit_named
from .printing import output, print_line, print_once
from .screen import Screen, usable
from .top import top
from .view import SORTS, View
from .watch import watched

__all__ = [
    "SORTS",
    "Event",
    "LiveError",
    "Screen",
    "Source",
    "View",
    "as_json",
    "gathered",
    "limit_named",
    "output",
    "print_line",
    "print_once",
    "top",
    "usable",
    "watched",
]
