"""docs/settings.md, written from the table."""

from collections.abc import Iterator
from typing import Any

from ratelimitd.settings.rows import Row, Status
from ratelimitd.settings.table import ROWS

_HEAD = """\
# Settings

Written by `python -m ratelimitd.settings > docs/settings.md` from the table in `ratelimitd/settings/table.py`.

Every setting is an environment variable, and a flag of `ratelimitd serve` of the same meaning: `GRPC_PORT` is
`--grpc-port`. A flag wins. Names and meanings are envoyproxy/ratelimit's where it has them. The start ends with every
mistake at once, each with what to write instead.

A bool is true, false, 1, 0, t or f. A duration is Go's (`150us`, `5s`, `1h30m`) or a plain number of seconds. A size is
a number of bytes, or one with a unit that counts by 1024 (`512KiB`, `256m`, `1g`). A bool, number, duration or size
that is set but empty is an error.

Counters live in Redis when `REDIS_URL` or `REDIS_ADDR` is set, else in memory. Any other `REDIS_*` variable without one
of them is an error, so that a typing error never counts in memory what was meant for Redis. (The variables Kubernetes
makes for a Service named redis are passed by.)
"""

_SECTIONS = (
    (Status.WORKS, "What works", ""),
    (
        Status.REFUSED,
        "What ends the start",
        (
            "These decide where policy, counters or trust come from and are not built yet. Empty, false or the default "
            "is fine; anything else is an error, never something weaker instead. So are `CONFIG_TYPE=GRPC_XDS_SOTW` "
            "and `BACKEND_TYPE=memcache`."
        ),
    ),
    (
        Status.UNREAD,
        "What nothing reads",
        "Set to anything but the default, these are named in one warning at the start.",
    ),
)


def page() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([_HEAD, *(line for status, title, intro in _SECTIONS for line in _section(status, title, intro))])


def _section(status: Status, title: str, intro: str) -> Iterator[str]:
    yield f"## {title}\n"
    if intro:
        yield f"{intro}\n"
    yield "| variable | default | meaning |\n|---|---|---|"
    yield from map(_line, (row for row in ROWS if row.status is status))
    yield ""


def _line(row: Row[Any]) -> str:
    default = f"`{row.default}`" if row.default else ""
    return f"| `{row.name}` | {default} | {row.doc.replace('|', chr(92) + '|')} |"
