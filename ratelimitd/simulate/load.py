"""The requests to simulate, read from JSON lines or generated."""

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import SECOND
from ratelimitd.config.values import UINT32_MAX
from ratelimitd.descriptor_text import Entries
from ratelimitd.policy import Descriptor, described

EVENTS_MAX: Final = 2_000_000
"""Maximum number of requests. At about 7 µs and 150 bytes each, they take 15 s per algorithm and 300 MB."""

HITS_MAX: Final = UINT32_MAX
"""Maximum hits: ``hits_addend`` of a request is a uint32."""

YEAR_2100: Final = 4_102_444_800
"""Seconds. Larger numbers are milliseconds or a mistake, and the algorithms are exact up to here."""


class LoadError(ValueError):
    """A request is invalid. The text has the line and what to write."""


class Event(NamedTuple):
    """One request at ``time`` µs. Its hits are in the descriptors."""

    time: int
    descriptors: tuple[Descriptor, ...]


def evenly(descriptors: Sequence[Entries], rate: float, seconds: float, hits: int | None) -> Iterator[Event]:
    """Yield ``rate`` requests per second, evenly spaced from time 0."""
    made = _descriptors(descriptors, hits)
    for number in range(_count(rate, seconds)):
        yield Event(int(number * SECOND / rate), made)


def poisson(
    descriptors: Sequence[Entries], rate: float, seconds: float, hits: int | None, seed: int
) -> Iterator[Event]:
    """Yield requests at random intervals, on average ``rate`` per second. The same seed gives the same requests."""
    _count(rate, seconds)
    made, gaps = _descriptors(descriptors, hits), random.Random(seed)  # noqa: S311 -- a load, not a secret
    time = gaps.expovariate(rate)
    while time < seconds:
        yield Event(int(time * SECOND), made)
        time += gaps.expovariate(rate)


def from_lines(lines: Iterable[str | bytes]) -> list[Event]:
    """Read one JSON object per line, ``{"time": …, "descriptors": [{"key": "value"}], "hits": 1}``; sort by time.

    A time is in seconds or RFC 3339. Empty lines are ignored. Raises LoadError with the line number.
    """
    events = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(_event(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise LoadError(f"{error} (line {number})") from error
        if len(events) > EVENTS_MAX:
            raise LoadError(f"more than {EVENTS_MAX} requests: simulate fewer at once")
    return sorted(events, key=lambda event: event.time)


def _count(rate: float, seconds: float) -> int:
    count = math.ceil(rate * seconds - 1e-9)
    if count > EVENTS_MAX:
        raise LoadError(f"{count} requests exceed the maximum of {EVENTS_MAX}: simulate a shorter time or a lower rate")
    return count


def _descriptors(descriptors: Sequence[Entries], hits: int | None) -> tuple[Descriptor, ...]:
    return tuple(described(entries, hits=hits) for entries in descriptors)


def _event(value: Any) -> Event:
    if not isinstance(value, dict):
        raise LoadError('not a request: write {"time": 0, "descriptors": [{"key": "value"}]}')
    unknown = value.keys() - {"time", "descriptors", "hits"}
    if unknown:
        raise LoadError(f"unknown field {min(unknown)!r}: a request has time, descriptors and hits")
    descriptors = value.get("descriptors")
    if not isinstance(descriptors, list) or not descriptors:
        raise LoadError('descriptors must be a list with at least one object: [{"key": "value"}]')
    hits = value.get("hits")
    if hits is not None and (isinstance(hits, bool) or not isinstance(hits, int) or not 0 <= hits <= HITS_MAX):
        raise LoadError(f"hits must be an integer from 0 to {HITS_MAX}")
    return Event(_time(value.get("time")), _descriptors([_entries(each) for each in descriptors], hits))


def _entries(value: Any) -> Entries:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise LoadError('a descriptor must be an object with string values: {"key": "value"}')
    return tuple(
        (key.encode(errors="surrogatepass"), text.encode(errors="surrogatepass")) for key, text in value.items()
    )


def _time(value: Any) -> int:
    seconds = _timestamp(value) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < YEAR_2100:
        raise LoadError(
            'time must be seconds, at least 0, or RFC 3339 such as "2026-01-31T12:00:00Z", before the year 2100'
        )
    return round(seconds * SECOND)


def _timestamp(value: str) -> float:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise LoadError(f'time {value!r} is not RFC 3339: write "2026-01-31T12:00:00Z"') from error
    if moment.tzinfo is None:
        raise LoadError(f"time {value!r} has no time zone: add Z")
    return moment.timestamp()
