"""The decision log, switched on for some requests and for a time."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from ratelimitd.config.values import positive_duration
from ratelimitd.descriptor_text import encode, parse
from ratelimitd.limiter import Selection
from ratelimitd.observe.logs import get_logger

from .http import PageHandler, PageRequest, PageResponse, as_json

log = get_logger(__name__)

HOW: Final = (
    "write POST /admin/decisions?domain=DOMAIN&limit=NAME&entry=KEY=VALUE&sample=N&lines=N&for=DURATION; "
    "each parameter is optional"
)

FOR: Final = "5m"
LONGEST: Final = 3600.0
"""Seconds. The log contains request data and ends by itself, also if the operator forgets it: by default after the
time that it takes to look at a complaint, at most after an hour."""

LINES: Final = 100
LINES_MOST: Final = 1_000
"""Lines per second: a hundred cost about 1 % of a core, and a person cannot read more; a thousand 10 %."""


class Switched(NamedTuple):
    """A request of an operator: decisions to log, 1 in ``sample``, at most ``lines`` per second, for ``seconds``."""

    selection: Selection
    sample: int = 1
    lines: int = LINES
    seconds: float = positive_duration(FOR)


class DecisionSwitch(NamedTuple):
    """The decision log as this page uses it: it begins, ends, and shows its state."""

    begin: Callable[[Switched], None]
    end: Callable[[], None]
    state: Callable[[], dict[str, Any]]


def decisions_page(switch: DecisionSwitch) -> PageHandler:
    """Make a handler: GET shows the state, POST begins, DELETE ends. Each answers with the state."""

    async def handler(request: PageRequest) -> PageResponse:
        try:
            if request.method == "POST":
                if request.body:
                    raise ValueError(f"the body is not read: {HOW}")  # noqa: TRY301 -- one answer to every mistake
                switch.begin(read_switched(request.raw_query))
                log.warning("decision log begins", peer=request.peer, **switch.state())
            elif request.method == "DELETE":
                switch.end()
        except ValueError as error:
            return as_json(400, {"error": str(error).encode(errors="backslashreplace").decode()})
        return as_json(200, switch.state())

    return handler


def read_switched(query: str) -> Switched:
    """Read the parameters of a query; raises ValueError that states what to write."""
    selection, bounds = Selection(), Switched(Selection())
    seen: set[str] = set()
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        if name in seen:
            raise ValueError(f"{name} is given twice: {HOW}")
        seen.add(name)
        if name not in READERS and name not in BOUNDS:
            raise ValueError(f"unknown parameter {name!r}: {HOW}")
        if not value:
            raise ValueError(f"{name} is empty: omit it, or give it a value")
        if name in READERS:
            selection = READERS[name](selection, value)
        else:
            bounds = BOUNDS[name](bounds, value)
    return bounds._replace(selection=selection)


def _entry(selection: Selection, text: str) -> Selection:
    if "=" not in text:
        return selection._replace(key=encode(text))
    entries = parse(text)
    if len(entries) != 1:
        raise ValueError(r"entry is one KEY=VALUE, or KEY for any value; write \, for a comma in a value")
    ((key, value),) = entries
    return selection._replace(key=key, value=value)


def _count(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise ValueError(f"{name} is a whole number from 1 to {most}")
    return int(text)


def _seconds(text: str) -> float:
    seconds = positive_duration(text)
    if seconds > LONGEST:
        raise ValueError("for is at most 1h")
    return seconds


READERS: Final[dict[str, Callable[[Selection, str], Selection]]] = {
    "domain": lambda selection, text: selection._replace(domain=encode(text)),
    "limit": lambda selection, text: selection._replace(limit=text),
    "entry": _entry,
}
"""Parameters that select."""

BOUNDS: Final[dict[str, Callable[[Switched, str], Switched]]] = {
    "sample": lambda bounds, text: bounds._replace(sample=_count("sample", text, 1_000_000)),
    "lines": lambda bounds, text: bounds._replace(lines=_count("lines", text, LINES_MOST)),
    "for": lambda bounds, text: bounds._replace(seconds=_seconds(text)),
}
"""Parameters that bound."""
