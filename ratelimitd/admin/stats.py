"""/stats: the counters as ``name: value`` lines under envoyproxy/ratelimit's statsd names.

Upstream's /stats lost them when its statistics library changed; this one has them.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from ratelimitd.observe.loop import joined
from ratelimitd.observe.metrics import LIMIT_COUNTERS, SLICE, SLICE_BYTES, Counters, LimitTally
from ratelimitd.statsd import limit_name, service_stats


async def statsd_text(
    tallies: Iterable[LimitTally], unknown_domains: Iterable[tuple[str, int]], counters: Counters
) -> AsyncGenerator[bytes, None]:
    """Yield the lines in chunks as a scrape does; a counter of a limit that is still 0 is absent, as in upstream."""
    service = "".join([f"{stat.name}: {stat.value}\n" for stat in service_stats(counters, unknown_domains)])
    yield service.encode(errors="backslashreplace")
    lines = (_lines(tally).encode(errors="backslashreplace") for tally in tallies)
    for chunk in joined(lines, SLICE, SLICE_BYTES):
        yield chunk
        await asyncio.sleep(0)


def _lines(tally: LimitTally) -> str:
    name = limit_name(tally)
    return "".join([f"{name}.{counter}: {n}\n" for counter in LIMIT_COUNTERS if (n := getattr(tally, counter))])
