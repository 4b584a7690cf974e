"""The metrics as a mapping file has them, in the text of a scrape.

Several metrics of statsd may become one series, whose value is their sum. So what the counters of a limit become is
found once, at the first scrape after it was made, and kept: matching names takes longer than writing them.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Table
from itertools import islice
from typing import Final, NamedTuple

from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import joined
from ratelimitd.observe.metrics import (
    LIMIT_COUNTERS,
    SLICE,
    SLICE_BYTES,
    Histogram,
    LimitTallies,
    LimitTally,
    header,
    histogram_lines,
    label_text,
)
from ratelimitd.sharded import ShardedDict, removed
from ratelimitd.statsd import Stat, limit_name, time_name

from .matching import Mapped, Matcher
from .model import Mapping

log = get_logger(__name__)

MATCHED: Final = 5
"""Limits whose names are matched before yielding to the event loop: six names each, which take 20 to 50 µs."""

FEW: Final = 64
"""Series of a name that are in one dict; it is divided in a tenth of a millisecond then."""


class Series:
    """A series: the counter of a limit, and rarely of further ones.

    Attributes:
        past: what counters of limits that are gone had added; it stays, so that the sum does not decrease.
    """

    __slots__ = ("counter", "labels", "more", "past", "scale", "tally")

    def __init__(self, labels: bytes, tally: LimitTally, counter: str, scale: float | None) -> None:
        self.labels = labels
        self.tally = tally
        self.counter = counter
        self.scale = scale
        self.past: float = 0
        self.more: list[Series] | None = None

    @property
    def value(self) -> float:
        """The sum of its counters."""
        number: int = getattr(self.tally, self.counter)
        own = self.past + (number if self.scale is None else number * self.scale)
        return own if self.more is None else own + sum(each.value for each in self.more)

    def lasts(self) -> bool:
        """Take out the counters of limits that are gone; False if no other is left, and the series has no value."""
        parts = [self, *(self.more or ())]
        lasting = [each for each in parts if each.tally.place >= 0]
        if not lasting:
            self.past, self.scale, self.more = (
                0,
                0.0,
                None,
            )  # a scrape that goes on may have another one of these labels
        elif len(lasting) < len(parts):
            self._become(lasting)
        return bool(lasting)

    def _become(self, lasting: "list[Series]") -> None:
        whole, first = self.value, lasting[0]
        self.tally, self.counter, self.scale = first.tally, first.counter, first.scale
        self.more = lasting[1:] or None
        self.past = 0
        self.past = whole - self.value


class Group:
    """The series of one name. New ones come at the end, so that scrapes can go on meanwhile."""

    __slots__ = ("help", "known", "listed", "name")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.help = text
        self.known: dict[bytes, Series] | ShardedDict[bytes, Series] = {}
        self.listed: list[Series] = []

    def add(self, made: Series) -> None:
        """Add a series, or the counter of one that is there."""
        known = self.known.get(made.labels)
        if known is None:
            self._make_room()
            self.known[made.labels] = made
            self.listed.append(made)
        elif known.more is None:
            known.more = [made]
        else:
            known.more.append(made)

    def prune(self) -> Iterator[None]:
        """Take out the series of limits that are gone; yield after each part. A scrape goes on with those that were."""
        listed, kept, at = self.listed, list[Series](), 0
        while at < len(listed):
            some = listed[at : at + SLICE]
            at += len(some)
            for series in some:
                if series.lasts():
                    kept.append(series)
                elif self.known.get(series.labels) is series:  # another may have its labels, if this was begun before
                    removed(self.known, series.labels)
            yield
        self.listed = kept

    def _make_room(self) -> None:
        """Divide a dict before it is so large that this, or its growth, takes long; most names have few series."""
        if isinstance(self.known, dict) and len(self.known) >= FEW:
            parts: ShardedDict[bytes, Series] = ShardedDict()
            for labels, series in self.known.items():
                parts[labels] = series
            self.known = parts


class Other(NamedTuple):
    """The metrics of one name that do not belong to limits: kind, HELP text, and value by labels."""

    kind: str
    help: str
    values: dict[bytes, float | Histogram]


class Exposed:
    """The metrics by a mapping file.

    Args:
        stats: returns the metrics beside those of limits.
        times: calls by their time in milliseconds, by method.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._groups: ShardedDict[str, Group] = ShardedDict()
        self._listed: list[Group] = []
        self._matched: list[LimitTally | None] = []
        self._let_go = 0
        self._pruning = False
        self._told: set[str] = set()

    def chunks(
        self, tallies: LimitTallies, stats: Iterable[Stat], times: Table[str, Table[int, int]]
    ) -> Iterator[bytes]:
        """Yield the text; between two chunks, which may be empty, the event loop should turn."""
        yield from self._match(tallies)
        yield from self._prune(tallies)  # afterwards: a sum that goes on with new limits alone keeps its value
        yield from joined(self._lines(self._others(stats, times)), SLICE, SLICE_BYTES)

    def _match(self, tallies: LimitTallies) -> Iterator[bytes]:
        """Find what the counters of new limits become; another scrape may do so at the same time."""
        made = 0
        for looked, tally in enumerate(tallies, 1):
            if self._is_new(tally):
                self._add(tally)
                made += 1
            if made == MATCHED or looked % SLICE == 0:
                made = 0
                yield b""

    def _is_new(self, tally: LimitTally) -> bool:
        """Whether this tally was not seen at its place yet; it is from now on."""
        matched, at = self._matched, tally.place
        while len(matched) <= at:
            matched.append(None)
        if matched[at] is tally:
            return False
        matched[at] = tally
        return True

    def _prune(self, tallies: LimitTallies) -> Iterator[bytes]:
        """Take out the series of limits that are gone, unless another scrape does so."""
        let_go = tallies.let_go
        if let_go == self._let_go or self._pruning:
            return
        self._pruning = True
        try:
            for group in islice(self._listed, len(self._listed)):
                for _ in group.prune():
                    yield b""
            self._let_go = let_go
        finally:  # a scrape that is not read to its end too
            self._pruning = False

    def _add(self, tally: LimitTally) -> None:
        name, texts = limit_name(tally), dict[bytes, bytes]()
        for counter in LIMIT_COUNTERS:
            mapped = self._matcher.find(f"{name}.{counter}", "counter")
            if mapped is None:
                continue
            labels = label_text(mapped.labels).encode()
            group = self._groups.get(mapped.name)
            if group is None:
                group = self._groups[mapped.name] = Group(mapped.name, mapped.mapping.help)
                self._listed.append(group)
            group.add(Series(texts.setdefault(labels, labels), tally, counter, mapped.mapping.scale))

    def _lines(self, others: dict[str, Other]) -> Iterator[bytes]:
        """Yield the line of each series, empty for one that has not counted; the first of a name has its head."""
        for group in islice(self._listed, len(self._listed)):
            name, other = group.name.encode(), others.pop(group.name, None)
            heading = header(group.name, "counter", group.help).encode()
            left = {} if other is None else dict(other.values)
            for series in islice(group.listed, len(group.listed)):
                line = _line(name, series, left)
                if line:
                    yield heading + line
                    heading = b""
                else:
                    yield b""
            if rest := _values(group.name, left):
                yield heading + rest
        for each, other in others.items():
            yield _text(each, other)

    def _others(self, stats: Iterable[Stat], times: Table[str, Table[int, int]]) -> dict[str, Other]:
        """Return the metrics beside those of limits by their new names."""
        found: dict[str, Other] = {}
        for name, kind, value in stats:
            mapped = self._matcher.find(name, kind)
            if mapped is not None and (value or kind == "gauge"):
                scale = mapped.mapping.scale
                self._put(found, mapped, kind, value if scale is None else value * scale)
        for method, calls in times.items():
            mapped = self._matcher.find(time_name(method), "observer")
            if mapped is not None:
                shape = "histogram" if mapped.mapping.histogram else "summary"
                self._put(found, mapped, shape, _observed(calls, mapped.mapping))
        return found

    def _put(self, found: dict[str, Other], mapped: Mapped, kind: str, value: float | Histogram) -> None:
        """Add a value; one whose name is that of another kind is left out, as there, and told once."""
        other = found.setdefault(mapped.name, Other(kind, mapped.mapping.help, {}))
        if other.kind != kind or (mapped.name in self._groups and kind != "counter"):
            if mapped.name not in self._told:
                self._told.add(mapped.name)
                log.warning("mapped metrics of several kinds have one name; the first is exposed", name=mapped.name)
            return
        labels = label_text(mapped.labels).encode()
        before = other.values.get(labels)
        if isinstance(value, Histogram):
            if isinstance(before, Histogram) and before.bounds == value.bounds:
                value.counts = [a + b for a, b in zip(before.counts, value.counts, strict=True)]
                value.sum += before.sum
        elif isinstance(before, int | float):
            value += before
        other.values[labels] = value


def _line(begin: bytes, series: Series, left: dict[bytes, float | Histogram]) -> bytes:
    """Return the line of a series, and take what else has its labels out of ``left``."""
    value, extra = series.value, left.pop(series.labels, 0)
    number = value + (0 if isinstance(extra, Histogram) else extra)
    return b"%b%b %b\n" % (begin, _braced(series.labels), str(number).encode()) if number else b""


def _observed(calls: Table[int, int], mapping: Mapping) -> Histogram:
    """Return the histogram of times in milliseconds, scaled; a summary needs only their sum and their number."""
    made = Histogram(mapping.buckets)
    scale = 1.0 if mapping.scale is None else mapping.scale
    for millis, count in calls.items():
        made.observe(millis * scale, count)
    return made


def _text(name: str, other: Other) -> bytes:
    values = _values(name, other.values, other.kind)
    return header(name, other.kind, other.help).encode() + values if values else b""


def _values(name: str, values: dict[bytes, float | Histogram], kind: str = "counter") -> bytes:
    lines: list[str] = []
    for labels, value in values.items():
        text = labels.decode()
        if isinstance(value, Histogram):
            every = histogram_lines(name, text, value)
            lines += every if kind == "histogram" else [line for line in every if not line.startswith(f"{name}_bucket")]
        else:
            lines.append(f"{name}{f'{{{text}}}' if text else ''} {value}\n")
    return "".join(lines).encode()


def _braced(labels: bytes) -> bytes:
    return b"{%b}" % labels if labels else b""
