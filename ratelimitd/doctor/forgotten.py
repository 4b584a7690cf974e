"""Check of a ratelimitd that is already running: limits that refused costs which may have been spent."""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from ratelimitd.app.ports import bound
from ratelimitd.http1 import Endpoint, FetchError, fetch
from ratelimitd.net.listen import LOOPBACK

from .finding import Finding, warn
from .target import POLICY, CheckTarget

SECONDS: Final = 5.0
"""Seconds for the metrics page, which a busy process writes in slices."""

PAGE_BYTES: Final = 16 << 20
"""More than the series of 10,000 limits."""

SHOWN: Final = 20
"""Limits that are named: a screenful."""

FORGOTTEN: Final = re.compile(rb"^ratelimitd_forgotten_hits_total\{(.*)\} (\d+)$", re.MULTILINE)

LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
"""Name and value of a label."""

PART: Final = {"limit": "limit_{}"}
"""By label, the part of the name of a limit where it is not the value alone."""


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Read the metrics of the process that has the HTTP port, if it is a ratelimitd."""
    if not target.serves or target.settings.disable_stats:
        return
    port = next(port for port in bound(target.settings, target.gateway, with_service=True) if port.setting == "PORT")
    endpoint = Endpoint(LOOPBACK.get(port.host, port.host), port.port, tls=False)
    found: list[tuple[bytes, bytes]] = []
    with suppress(FetchError, ValueError):
        page = await fetch(endpoint, b"GET", b"/metrics", seconds=SECONDS, max_body=PAGE_BYTES)
        found = FORGOTTEN.findall(page.body)
    for labels, hits in found[:SHOWN]:
        parts = LABEL.findall(labels.decode(errors="replace"))
        limit = ".".join(PART.get(name, "{}").format(value) for name, value in parts)
        yield warn(
            POLICY,
            f"the limit {limit} has refused {hits.decode()} hits that descriptors reported, and forgotten them",
            "write charge: after in the limit if they have been spent (apply_on_stream_done), or charge: before if "
            "they are asked for",
        )
