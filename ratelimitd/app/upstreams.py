"""envoyproxy/ratelimit's metrics of its pools of connections and of its cache, as far as there are such things here."""

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from ratelimitd.limiter import OverLimitCache
from ratelimitd.observe.metrics import Family, single
from ratelimitd.statsd import Stat, service_stats
from ratelimitd.stores.redis import Pool

from .engine import Parts

POOLS: Final = ("ratelimit.redis_pool", "ratelimit.redis_per_second_pool")
"""In the order of ``Topology.pools``."""

CACHE: Final = "ratelimit.localcache"


class Counted(NamedTuple):
    """A metric by its name in statsd."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Callable[[], int]


def stats(parts: Parts) -> Iterator[Stat]:
    """Yield envoyproxy/ratelimit's metrics beside those of limits."""
    yield from service_stats(parts.counters, parts.tallies.unknown_domains())
    for each in _counted(parts):
        yield Stat(each.name, each.kind, each.read())


def families(parts: Parts) -> list[Family]:
    """Return those of pools and of the cache for Prometheus, under the names that its mapper gives them."""
    return [single(each.name.replace(".", "_"), each.kind, each.help, each.read) for each in _counted(parts)]


def _counted(parts: Parts) -> list[Counted]:
    pools = () if parts.redis is None else parts.redis.topology.pools
    found = [each for name, pool in zip(POOLS, pools, strict=False) for each in _of_pool(name, pool)]
    for guard in parts.engine.guards:
        if isinstance(guard, OverLimitCache):
            found += _of_cache(guard)
    return found


def _of_pool(name: str, pool: Pool) -> list[Counted]:
    return [
        Counted(f"{name}.cx_active", "gauge", "Connections to Redis.", lambda: pool.made - pool.closed),
        Counted(f"{name}.cx_total", "counter", "Connections made to Redis.", lambda: pool.made),
        Counted(f"{name}.cx_local_close", "counter", "Connections to Redis that ended.", lambda: pool.closed),
    ]


def _of_cache(cache: OverLimitCache) -> list[Counted]:
    return [
        Counted(f"{CACHE}.entryCount", "gauge", "Denials in the over-limit cache.", lambda: len(cache)),
        Counted(f"{CACHE}.lookupCount", "gauge", "Charges looked for in it.", lambda: cache.lookups),
        Counted(f"{CACHE}.hitCount", "gauge", "Charges that it denied.", lambda: cache.hits),
        Counted(f"{CACHE}.missCount", "gauge", "Charges that it did not deny.", lambda: cache.lookups - cache.hits),
        Counted(f"{CACHE}.evacuateCount", "gauge", "Denials that made room for others.", lambda: cache.evicted),
    ]
