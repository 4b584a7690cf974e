"""/stats: the counters as ``name: value`` lines under envoyproxy/ratelimit's statsd names.

Upstream's /stats lost them when its statistics library changed; this one has them.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Final

from ratelimitd.observe.loop import joined
from ratelimitd.observe.metrics import LIMIT_COUNTERS, SLICE, SLICE_BYTES, Counters, LimitTally
from ratelimitd.printable import printable

SERVICE: Final = "ratelimit.service."


async def statsd_text(
    tallies: Iterable[LimitTally], unknown_domains: Iterable[tuple[str, int]], counters: Counters
) -> AsyncGenerator[bytes, None]:
    """Yield the lines in chunks as a scrape does; a counter of a limit that is still 0 is absent, as in upstream."""
    yield "".join(service_lines(unknown_domains, counters)).encode(errors="backslashreplace")
    lines = (limit_lines(tally).encode(errors="backslashreplace") for tally in tallies)
    for chunk in joined(lines, SLICE, SLICE_BYTES):
        yield chunk
        await asyncio.sleep(0)


def service_lines(unknown_domains: Iterable[tuple[str, int]], counters: Counters) -> Iterable[str]:
    """Yield the lines that do not belong to a limit."""
    for name in ("redis_error", "service_error"):
        yield f"{SERVICE}call.should_rate_limit.{name}: {getattr(counters, name)}\n"
    for name in ("config_load_success", "config_load_error", "global_shadow_mode"):
        yield f"{SERVICE}{name}: {getattr(counters, name)}\n"
    for method, calls in counters.total_requests.items():
        yield f"ratelimit_server.{method}.total_requests: {calls}\n"
    for domain, descriptors in unknown_domains:
        yield f"{SERVICE}rate_limit.{printable(domain)}.domain_not_found: {descriptors}\n"


def limit_lines(tally: LimitTally) -> str:
    """Return the lines of one limit; with several limits per descriptor, ``.limit_NAME`` follows the key."""
    item = f".limit_{tally.item}" if tally.item else ""
    name = printable(f"{SERVICE}rate_limit.{'.'.join(tally.stat_key)}{item}")
    return "".join([f"{name}.{counter}: {n}\n" for counter in LIMIT_COUNTERS if (n := getattr(tally, counter))])
