"""The values of a mapping file."""

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "observer"]
"""What a metric of statsd is, in statsd_exporter's words; an observer is a timer here."""

DEFAULT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Those of Prometheus' Go client, which statsd_exporter takes by default."""

DEFAULT_HELP: Final = "Mapped by PROMETHEUS_MAPPER_YAML."


class Mapping(NamedTuple):
    """One mapping.

    Attributes:
        match: a glob of parts between dots, or a regular expression.
        glob: which of them.
        name: template of the name.
        labels: names of labels, and templates of their values.
        drop: whether what it matches is not exposed.
        kind: kind of metrics that it matches; None: any.
        histogram: whether timers are exposed as histograms; otherwise as summaries.
        buckets: upper bounds of a histogram.
        scale: factor of values; None: none.
        help: HELP text.
    """

    match: str
    name: str
    glob: bool = True
    labels: tuple[tuple[str, str], ...] = ()
    drop: bool = False
    kind: Kind | None = None
    histogram: bool = False
    buckets: tuple[float, ...] = DEFAULT_BUCKETS
    scale: float | None = None
    help: str = DEFAULT_HELP


class MapperFile(NamedTuple):
    """A mapping file: its mappings in order, and what applies to metrics that none of them matches."""

    mappings: tuple[Mapping, ...]
    unmapped: Mapping
