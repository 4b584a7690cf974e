"""Server-sent events (WHATWG HTML, 9.2.6), as far as ``/live/`` uses them: names and data."""

import json
from typing import Any, Final, NamedTuple

EVENT_BYTES: Final = 1 << 20
"""Maximum size of an event: far more than a decision on 64 descriptors needs."""


class Event(NamedTuple):
    """An event whose data is a JSON object."""

    name: str
    data: dict[str, Any]


class EventError(ValueError):
    """The stream is not one of events with JSON objects."""


class Events:
    """Reads events from a stream that arrives in pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0  # bytes of the event's lines so far

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that are complete. Raises EventError."""
        *lines, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        found = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) + self._size > EVENT_BYTES:
            raise EventError("an event is too large")
        return found

    def _line(self, line: bytes) -> Event | None:
        self._size += len(line)
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"data":
            self._data.append(value)
        return self._end() if not line else None

    def _end(self) -> Event | None:
        name, data = self._name, b"\n".join(self._data)
        self._name, self._data, self._size = "", [], 0
        return Event(name, object_of(data)) if data else None


def object_of(data: bytes) -> dict[str, Any]:
    """Read a JSON object. Raises EventError."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise EventError("it is not a JSON object")
    return value
