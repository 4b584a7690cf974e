"""Where metrics are sent: the sink that the settings choose, and the rules of DogStatsD's names."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from ratelimitd.config.values import pairs


class StatsSink(StrEnum):
    """What receives metrics as envoyproxy/ratelimit sends them; /metrics of the HTTP port is beside it."""

    NONE = "none"
    STATSD = "statsd"
    DOG_STATSD = "DogStatsD"
    PROMETHEUS = "Prometheus"


ONE_SINK: Final = (
    "unable to use more than one stats sink at the same time. Set one of USE_DOG_STATSD, USE_STATSD, USE_PROMETHEUS"
)
"""envoyproxy/ratelimit's text."""

STATSD_NAMES: Final = frozenset({"STATSD_HOST", "STATSD_PORT", "STATSD_PROTOCOL", "EXTRA_TAGS", "USE_DOG_STATSD"})
"""Variables of which one that is set says that metrics are sent to statsd."""


class Mogrifier(NamedTuple):
    """A rule of DogStatsD's names, as text.

    Attributes:
        name: its name in USE_DOG_STATSD_MOGRIFIERS.
        pattern: regular expression.
        result: template of the new name.
        tags: keys, and templates of their values.
    """

    name: str
    pattern: str
    result: str
    tags: tuple[tuple[str, str], ...]


def sends_statsd(given: Mapping[str, object], *, use_statsd: bool, use_prometheus: bool) -> bool:
    """Whether USE_STATSD holds: as it is set, else by default if a variable of statsd is set."""
    if "USE_STATSD" in given:
        return use_statsd
    return not use_prometheus and not STATSD_NAMES.isdisjoint(given)


def mogrifier_prefix(name: str) -> str:
    """Return the beginning of a rule's variables; envoyproxy/ratelimit looks for them in upper case."""
    return f"DOG_STATSD_MOGRIFIER_{name.upper()}_"


def mogrifiers(names: tuple[str, ...], values: Mapping[str, str]) -> Iterator[Mogrifier | tuple[str, str]]:
    """Yield the rules with these names, or the variable and the error of one that is none."""
    for name in names:
        prefix = mogrifier_prefix(name)
        pattern, result = values.get(f"{prefix}PATTERN", ""), values.get(f"{prefix}NAME", "")
        if not pattern:
            yield f"{prefix}PATTERN", f"no PATTERN specified for mogrifier {name}; set it, or leave the name out"
        if not result:
            yield f"{prefix}NAME", f"no NAME specified for mogrifier {name}; set it, $0 keeps the name as it is"
        try:
            tags = pairs(values.get(f"{prefix}TAGS", ""))
        except ValueError as error:
            yield f"{prefix}TAGS", str(error)
            continue
        empty = next((key for key, value in tags if not key or not value), None)
        if empty is not None:
            yield f"{prefix}TAGS", f"no key or no value of tag {empty!r} specified for mogrifier {name}"
        elif pattern and result:
            yield Mogrifier(name, pattern, result, tags)
