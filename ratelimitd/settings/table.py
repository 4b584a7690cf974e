"""The table: every variable of envoyproxy/ratelimit, and those of this project.

A supported variable is an attribute of ``Settings``; the class attribute is its row, in ``serving``, ``counting``,
``xds``, ``answering``, ``measuring`` or ``tracing``. ``EARLY`` are read by the import of the package, ``EXPORTER`` by a
library, and ``unbuilt`` has the others.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from ratelimitd.compiled import PURE
from ratelimitd.config.values import boolean
from ratelimitd.settings.answering import AnsweringRows
from ratelimitd.settings.counting import CountingRows
from ratelimitd.settings.measuring import MOGRIFIERS, MeasuringRows
from ratelimitd.settings.redis_url import RedisUrl, read_redis_url
from ratelimitd.settings.redis_variables import MAIN_REDIS, OF_THE_SECOND, PER_SECOND_REDIS, RedisVariables
from ratelimitd.settings.rows import Row, RowStatus
from ratelimitd.settings.serving import ServingRows
from ratelimitd.settings.sinks import Mogrifier, StatsSink, sends_statsd
from ratelimitd.settings.tracing import EXPORTER, TracingRows
from ratelimitd.settings.unbuilt import UNBUILT
from ratelimitd.settings.xds import XDS, XdsRows


class Settings(ServingRows, CountingRows, XdsRows, AnsweringRows, MeasuringRows, TracingRows):
    """All supported settings, parsed and frozen. Durations are seconds, sizes bytes. Created by ``load``.

    Attributes:
        warnings: sentences to log once, at the start.
        given: names of the variables that were set, by flag or in the environment.
        mogrifiers: rules of DogStatsD's names.
    """

    warnings: tuple[str, ...]
    given: frozenset[str]
    mogrifiers: tuple[Mogrifier, ...]

    def __init__(
        self, values: Mapping[str, Any], warnings: tuple[str, ...] = (), mogrifiers: tuple[Mogrifier, ...] = ()
    ) -> None:
        """Store the parsed values by name of the row, and fill in the defaults."""
        for row in WORKING:
            value = values[row.name] if row.name in values else row.parse(row.default)
            self.__dict__[row.name.lower()] = value
        self.__dict__["warnings"] = warnings
        self.__dict__["given"] = frozenset(values)
        self.__dict__["mogrifiers"] = mogrifiers

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings are frozen: {name}")

    def __repr__(self) -> str:
        return "Settings(...)"

    @property
    def over_xds(self) -> bool:
        """Whether the policy comes from a control plane."""
        return self.config_type == XDS

    @property
    def upstream(self) -> str:
        """URL of the proxy's upstream without a gateway file, by either name."""
        return (
            self.upstream_url if Settings.upstream_url.name in self.given else self.downstream_url or self.upstream_url
        )

    @property
    def sinks(self) -> tuple[StatsSink, ...]:
        """The sinks of metrics that are chosen; more than one is an error, so ``load`` returns at most one."""
        if self.disable_stats:
            return ()
        given = {name: None for name in self.given if name != "STATSD_PORT" or self.statsd_port is not None}
        statsd = sends_statsd(given, use_statsd=self.use_statsd, use_prometheus=self.use_prometheus)
        chosen = {
            StatsSink.DOG_STATSD: self.use_dog_statsd,
            StatsSink.STATSD: statsd,
            StatsSink.PROMETHEUS: self.use_prometheus,
        }
        return tuple(sink for sink, wanted in chosen.items() if wanted)

    @property
    def sink(self) -> StatsSink:
        """The sink of metrics."""
        return self.sinks[0] if self.sinks else StatsSink.NONE

    @property
    def redis(self) -> RedisUrl | None:
        """Address of Redis; None: counters are kept in memory. Raises ValueError, but not after ``load``."""
        return self.redis_at(MAIN_REDIS)

    @property
    def per_second(self) -> RedisUrl | None:
        """Address of the Redis for limits per second; None: the same as for others. Raises ValueError as ``redis``."""
        return self.redis_at(PER_SECOND_REDIS)

    def redis_at(self, prefix: str) -> RedisUrl | None:
        """Return ``redis`` or ``per_second``, by the prefix of its variables."""
        variables = self.redis_variables(prefix)
        wanted = prefix == MAIN_REDIS or self.redis_persecond
        return read_redis_url(variables.type, variables.url) if wanted else None

    def redis_variables(self, prefix: str) -> RedisVariables:
        """Return the values of the variables with this prefix; REDIS_ADDR is another name for REDIS_URL."""
        found = {name: self.__dict__[prefix.lower() + name] for name in RedisVariables.__annotations__}
        if prefix == MAIN_REDIS:
            found["url"] = found["url"] or self.redis_addr
        return RedisVariables(found)


def _working() -> Iterator[Row[Any]]:
    for rows in Settings.__bases__:
        for row in vars(rows).values():
            if isinstance(row, Row):
                yield row
            if row is Settings.redis_persecond:
                yield from map(_second, RedisVariables.__annotations__)


def _second(name: str) -> Row[Any]:
    """Make the row of the second Redis from that of the first."""
    row: Row[Any] = getattr(Settings, MAIN_REDIS.lower() + name)
    doc = f"As {row.name}{OF_THE_SECOND.get(name, '')}."
    return Row(row.parse, row.default, doc, name=PER_SECOND_REDIS + name.upper(), secret=row.secret)


WORKING: Final[tuple[Row[Any], ...]] = tuple(_working())

EARLY: Final[tuple[Row[Any], ...]] = (
    Row(
        boolean,
        "false",
        "Run the service's own code interpreted, also where mypyc compiled it: for debuggers and profilers, which see "
        "no compiled frames. At an installation: do not compile.",
        name=PURE,
        status=RowStatus.EARLY,
    ),
)

ROWS: Final[tuple[Row[Any], ...]] = (*WORKING, *MOGRIFIERS, *EARLY, *EXPORTER, *UNBUILT)
"""The whole table."""

ROW: Final[Mapping[str, Row[Any]]] = {row.name: row for row in ROWS}
"""Rows by name of the variable."""
