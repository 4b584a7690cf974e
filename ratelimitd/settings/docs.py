"""docs/settings.md, generated from the table."""

from collections.abc import Iterator
from typing import Any

from ratelimitd.config.values import Choice
from ratelimitd.settings.rows import Row, RowStatus
from ratelimitd.settings.table import ROWS

_HEAD = """\
# Settings

Written by `python -m ratelimitd.settings > docs/settings.md` from the rows in `ratelimitd/settings/`.

Every setting is an environment variable and a flag of `ratelimitd serve` with the same meaning: `GRPC_PORT` is
`--grpc-port`. A flag overrides the variable. Names and meanings are those of envoyproxy/ratelimit where it has the
setting. If settings are invalid, the start fails and reports all errors at once, each with what to write instead.

A bool is true, false, 1, 0, t or f. A duration is a Go duration (`150us`, `5s`, `1h30m`) or a plain number of seconds.
A size is a number of bytes, optionally with a unit, which is a power of 1024 (`512KiB`, `256m`, `1g`). A bool, number,
duration or size that is set but empty is an error.

Counters are kept in Redis if `REDIS_URL` or `REDIS_ADDR` is set, else in memory. Any other `REDIS_*` variable without
one of them is an error, so that a misspelled name does not silently move the counters to memory. (The variables that
Kubernetes sets for a Service named redis are ignored.) Any other variable whose name differs by one character, or by
two that changed places, from that of a setting that is not set (`GRPC_PROT`) is named in a warning.
"""


def _refused_values() -> str:
    """Name the values that supported variables refuse because they are not implemented yet."""
    values = [
        f"`{row.name}={value}`"
        for row in ROWS
        if row.status is RowStatus.WORKS and isinstance(row.parse, Choice)
        for value in row.parse.unbuilt
    ]
    return " and ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values)


_SECTIONS = (
    (RowStatus.WORKS, "Supported", ""),
    (
        RowStatus.EARLY,
        "Variables only",
        "These take effect when a process starts, before settings are read, so they have no flag.",
    ),
    (
        RowStatus.NAMED,
        "Variables with a name in them",
        "`USE_DOG_STATSD_MOGRIFIERS` lists the names; each is in capital letters here. These have no flag.",
    ),
    (
        RowStatus.EXPORTER,
        "Variables of the exporter of traces",
        (
            "With `TRACING_ENABLED`, OpenTelemetry's exporter reads these, and its SDK `OTEL_RESOURCE_ATTRIBUTES`. "
            "They have no flag."
        ),
    ),
    (
        RowStatus.REFUSED,
        "Rejected at the start",
        (
            "These variables decide where policy, counters or trust come from and are not implemented yet. Empty, "
            "false or the default is accepted; any other value is an error, because ignoring it would weaken the "
            f"configuration. The same applies to {_refused_values()}."
        ),
    ),
    (
        RowStatus.UNREAD,
        "Ignored",
        "Those that are set to a value other than the default are listed in one warning at the start.",
    ),
)


def page() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([_HEAD, *(line for status, title, intro in _SECTIONS for line in _section(status, title, intro))])


def _section(status: RowStatus, title: str, intro: str) -> Iterator[str]:
    yield f"## {title}\n"
    if intro:
        yield f"{intro}\n"
    yield "| variable | default | meaning |\n|---|---|---|"
    yield from map(_line, (row for row in ROWS if row.status is status))
    yield ""


def _line(row: Row[Any]) -> str:
    default = f"`{row.default}`" if row.default else ""
    return f"| `{row.name}` | {default} | {row.doc.replace('|', chr(92) + '|')} |"
