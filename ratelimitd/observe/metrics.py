"""Metrics: plain integers that are incremented in place, and their text for a scrape.

The text is Prometheus' exposition format 0.0.4. It is written here because prometheus_client appends ``_total`` to
every counter, which envoyproxy/ratelimit's names do not have, and renders all limits at once: 327 ms for 10,000
limits, during which nothing else runs. Here the limits are rendered in slices.

envoyproxy/ratelimit's exporter puts the domain into the names of two metrics (over_limit_with_local_cache and
domain_not_found); here they are one name with labels, as its other five are: one name per domain cannot be queried
across domains. Labels ``key3`` and deeper, which it drops, and ``limit``, which it does not need, are additions.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from itertools import accumulate, chain, islice
from operator import attrgetter
from typing import Final, Literal, NamedTuple, Protocol

from .loop import batches, joined

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SLICE: Final = 200
"""Limits looked at before yielding to the event loop: at most half a millisecond of work."""

SLICE_BYTES: Final = 16 << 10
"""Bytes of text rendered before yielding, whatever the number of limits: a quarter of a millisecond of work, and 1 to 2
where a scrape is the first one and writes labels of many parts."""

RESPONSE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. The defaults of Prometheus' Go client, which envoyproxy/ratelimit's exporter uses."""

STORE_BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.05, 0.1, 1.0)
"""Seconds. Fine around the store's budget of 15 ms and Envoy's default timeout of 20 ms."""


class Histogram:
    """A histogram of durations.

    Attributes:
        bounds: inclusive upper bounds in seconds, ascending.
        counts: count per bucket, with one more bucket above the last bound; not cumulative.
        sum: sum of all durations, seconds.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = RESPONSE_BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Add ``times`` observations of a duration."""
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum += seconds * times


LONGEST_TIME: Final = 60_000
"""Milliseconds above which times are not told apart: no caller waits so long, and each is an entry of a table."""


class Counters:
    """Counters of the service other than those of limits, with envoyproxy/ratelimit's names.

    Attributes:
        total_requests, response_time: by gRPC method, e.g. ``ShouldRateLimit``.
        service_error: calls rejected as invalid, or because no policy is loaded.
        redis_error: calls that failed because of the store.
        config_load_success, config_load_error: policy loads.
        global_shadow_mode: responses that SHADOW_MODE changed to OK.
        times: by gRPC method, calls by their time in whole milliseconds, as envoyproxy/ratelimit measures it; None: not
            counted. statsd and its mappings need them.
    """

    __slots__ = (
        "config_load_error",
        "config_load_success",
        "global_shadow_mode",
        "redis_error",
        "response_time",
        "service_error",
        "times",
        "total_requests",
    )

    def __init__(self) -> None:
        self.total_requests: dict[str, int] = {}
        self.response_time: dict[str, Histogram] = {}
        self.service_error = 0
        self.redis_error = 0
        self.config_load_success = 0
        self.config_load_error = 0
        self.global_shadow_mode = 0
        self.times: dict[str, dict[int, int]] | None = None

    def called(self, method: str, seconds: float, calls: int) -> None:
        """Count ``calls`` calls of a method, each of this duration. Only names of served methods are passed."""
        histogram = self.response_time.get(method)
        if histogram is None:
            histogram = self.response_time[method] = Histogram()
        histogram.observe(seconds, calls)
        self.total_requests[method] = self.total_requests.get(method, 0) + calls
        if self.times is not None:
            times = self.times.setdefault(method, {})
            millis = min(int(seconds * 1000), LONGEST_TIME)
            times[millis] = times.get(millis, 0) + calls


class LimitTally(Protocol):
    """The names and counters of one limit; it also has an attribute for each key of ``LIMIT_COUNTERS``.

    Attributes:
        label_text: its labels as ``limit_labels`` writes them; empty until a scrape has written them.
    """

    label_text: bytes

    @property
    def place(self) -> int:
        """Its place among all tallies, which another one may have after it; negative once it was let go."""

    @property
    def after(self) -> object | None:
        """Counters of costs that came after the request, see ``LATER_COUNTERS`` and RESERVE_AMOUNT."""

    @property
    def stat_key(self) -> tuple[str, ...]:
        """The domain, then one item per descriptor level."""

    @property
    def item(self) -> str:
        """Name that distinguishes several limits of one descriptor, else ""."""


class LimitTallies(Protocol):
    """The tallies of all limits."""

    @property
    def let_go(self) -> int:
        """Tallies that were let go so far; what is kept beside them may go too."""

    def __iter__(self) -> Iterator[LimitTally]:
        """Iterate by place."""

    def __len__(self) -> int:
        """Return the number of tallies."""


LIMIT_COUNTERS: Final[Mapping[str, str]] = {
    "total_hits": "Hits requested.",
    "over_limit": "Hits over the limit.",
    "near_limit": "Hits within the limit but above NEAR_LIMIT_RATIO of it.",
    "within_limit": "Hits of allowed requests.",
    "shadow_mode": "Hits over a limit in shadow mode.",
    "over_limit_with_local_cache": "Hits denied by the over-limit cache without a call to the store.",
}

LATER_COUNTERS: Final[Mapping[str, str]] = {
    "questions": "Requests that passed without a cost, which is reported later.",
    "settlements": "Costs that were reported.",
    "settled_hits": "Hits of settlements.",
    "over_run_hits": "Hits of settlements past the limit.",
    "forgiven_hits": "Hits of settlements past the ceiling of the counter, which are not recorded.",
    "forgotten_hits": "Hits above 1 that a descriptor reported and a limit without `charge` refused.",
    "holds": "Holds that requests took while they are in progress.",
    "holds_expired": "Holds that expired.",
    "leases_unknown": "Settlements and releases with a lease whose hold was not there any more.",
    "refused_by_holds": "Requests that would have passed without the holds of others.",
}
"""Counters of limits whose costs come after the request; ``ratelimitd_`` and ``_total`` are around their names."""

RESERVE_AMOUNT: Final = "reserve_amount"
"""Attribute beside these counters, of ``ratelimitd_reserve_amount``."""

LIMIT_PREFIX: Final = "ratelimit_service_rate_limit_"

Value = float | Histogram
Kind = Literal["counter", "gauge", "histogram"]


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: name in the exposition.
        kind: type in the exposition format.
        help: one sentence.
        labels: label names.
        read: returns (label values, value) pairs; the value of a histogram is a Histogram.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    read: Callable[[], Iterable[tuple[tuple[str, ...], Value]]]


def single(name: str, kind: Kind, text: str, read: Callable[[], Value]) -> Family:
    """Make a metric without labels."""
    return Family(name, kind, text, (), lambda: [((), read())])


def by_label(name: str, kind: Kind, text: str, label: str, read: Callable[[], Iterable[tuple[str, Value]]]) -> Family:
    """Make a metric with one label; ``read`` returns (label value, value) pairs."""
    return Family(name, kind, text, (label,), lambda: [((value,), number) for value, number in read()])


async def render(
    tallies: LimitTallies,
    families: Iterable[Family],
    blocking: Callable[[], Iterable[Family]] = tuple,
    upstreams: Iterable[bytes] | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield the text in chunks of some ``SLICE_BYTES``, ``SLICE`` limits or one family; the loop turns in between.

    A counter of a limit that is still 0 is absent, as in upstream. A limit that is added during a scrape appears in the
    next one at the latest. A scrape keeps no text but its current chunk, so one that is not read holds little.
    ``blocking`` is called in a thread, at the end. ``upstreams`` has chunks in place of those of upstream's counters of
    limits.
    """
    first = _limits(tallies) if upstreams is None else upstreams
    for chunk in chain(first, _later(tallies)):
        if chunk:
            yield chunk
        await asyncio.sleep(0)
    for family in families:
        yield family_text(family).encode()
        await asyncio.sleep(0)
    yield "".join(map(family_text, await asyncio.to_thread(blocking))).encode()


def _limits(tallies: LimitTallies) -> Iterator[bytes]:
    """Yield upstream's counters of limits."""
    count = len(tallies)
    for counter, text in LIMIT_COUNTERS.items():
        name = LIMIT_PREFIX + counter
        yield header(name, "counter", text).encode()
        yield from joined(_samples(islice(tallies, count), name, attrgetter(counter)), SLICE, SLICE_BYTES)


def _later(tallies: LimitTallies) -> Iterator[bytes]:
    """Yield the metrics of limits whose costs come after the request; an empty chunk for each slice of others."""
    later: list[LimitTally] = []
    for some in batches(islice(tallies, len(tallies)), SLICE):
        later += [tally for tally in some if tally.after is not None]
        yield b""
    kinds: list[tuple[str, str, Kind, str]] = [
        *((f"ratelimitd_{counter}_total", counter, "counter", text) for counter, text in LATER_COUNTERS.items()),
        ("ratelimitd_reserve_amount", RESERVE_AMOUNT, "gauge", "Hits that an answer in progress holds, as learnt."),
    ]
    for name, attribute, kind, text in kinds if later else ():
        yield header(name, kind, text).encode()
        yield from joined(_samples(later, name, attrgetter(f"after.{attribute}")), SLICE, SLICE_BYTES)


def _samples(tallies: Iterable[LimitTally], name: str, read: Callable[[LimitTally], int]) -> Iterator[bytes]:
    """Yield the line of each limit, empty for one that has not counted."""
    begin = name.encode()
    for tally in tallies:
        number = read(tally)
        if number:
            if not tally.label_text:
                tally.label_text = limit_labels(tally.stat_key, tally.item).encode()
            yield b"%b{%b} %d\n" % (begin, tally.label_text, number)
        else:
            yield b""


def limit_labels(stat_key: tuple[str, ...], item: str) -> str:
    """Return the labels of a limit without braces: domain, key1, key2 …, and limit if there are several."""
    names = ("domain", *(f"key{depth}" for depth in range(1, len(stat_key))))
    pairs = zip((*names, "limit"), (*stat_key, item), strict=True) if item else zip(names, stat_key, strict=True)
    return label_text(pairs)


def label_text(pairs: Iterable[tuple[str, str]]) -> str:
    """Return ``name="value"`` pairs; values are escaped."""
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in pairs])


def family_text(family: Family) -> str:
    """Return all lines of a family, empty if it has no values."""
    lines: list[str] = []
    for values, value in family.read():
        labels = label_text(zip(family.labels, values, strict=True))
        if isinstance(value, Histogram):
            lines.extend(histogram_lines(family.name, labels, value))
        else:
            lines.append(f"{family.name}{_braced(labels)} {value}\n")
    return header(family.name, family.kind, family.help) + "".join(lines) if lines else ""


def histogram_lines(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    """Yield the lines of a histogram; ``labels`` without braces."""
    before = f"{labels}," if labels else ""
    counts = list(accumulate(histogram.counts))
    for bound, count in zip((*map(_bound, histogram.bounds), "+Inf"), counts, strict=True):
        yield f'{name}_bucket{{{before}le="{bound}"}} {count}\n'
    yield f"{name}_sum{_braced(labels)} {histogram.sum}\n"
    yield f"{name}_count{_braced(labels)} {counts[-1]}\n"


def _bound(seconds: float) -> str:
    """Write ``le`` as Go does, ``1`` and not ``1.0``: Prometheus 2 keeps the text, and dashboards select by it."""
    return str(seconds).removesuffix(".0")


def header(name: str, kind: str, text: str) -> str:
    """Return the HELP and TYPE lines of a metric."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _escaped(value: str) -> str:
    if not value.isascii():
        # A byte that is not UTF-8 is decoded to a lone surrogate, which cannot be encoded.
        value = value.encode("utf-8", "backslashreplace").decode()
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
