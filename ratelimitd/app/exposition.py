"""Which metrics the service exposes, and where their numbers are."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable

from ratelimitd import __version__
from ratelimitd.observe.loop import LoopLag
from ratelimitd.observe.metrics import (
    Family,
    by_label,
    memory_families,
    policy_families,
    process_families,
    render,
    service_families,
    single,
    store_families,
)
from ratelimitd.stores.redis import RedisStore

from .engine import Parts
from .policies import Policies

Scrape = Callable[[], AsyncGenerator[bytes, None]]
"""Makes the text of one scrape, in chunks."""


def exposition(parts: Parts, policies: Policies, lag: LoopLag, more: Iterable[Family] = ()) -> Scrape:
    """Expose the engine's numbers, and ``more``."""
    memory = parts.memory
    families = [
        *service_families(parts.counters, parts.tallies.unknown_domains),
        *policy_families(
            lambda: policies.in_force.generation,
            lambda: time.monotonic() - policies.in_force.loaded,
            lambda: policies.in_force.limits,
        ),
        *memory_families(lambda: len(memory), lambda: memory.bytes, lambda: memory.evictions),
        single(
            "ratelimitd_overflow_charges_total",
            "counter",
            "Charges of new keys, past NEW_KEYS_PER_SECOND, that went to a counter they share.",
            lambda: 0 if parts.new_keys is None else parts.new_keys.redirected,
        ),
        *(() if parts.redis is None else _redis_families(parts, parts.redis)),
        *more,
        *process_families(lag, __version__),
    ]
    return lambda: render(parts.tallies, families)


def _redis_families(parts: Parts, redis: RedisStore) -> list[Family]:
    watch = parts.redis_watch
    return [
        *store_families(watch.latency, redis.failures.items, lambda: redis.connected),
        single("ratelimitd_redis_batch_charges", "histogram", "Charges of a script call.", lambda: watch.charges),
        single("ratelimitd_redis_round_trips_total", "counter", "Round trips to Redis.", lambda: redis.round_trips),
        single("ratelimitd_redis_reconnects_total", "counter", "Connections made again.", lambda: redis.reconnects),
        single(
            "ratelimitd_redis_script_reloads_total", "counter", "Times Redis forgot the script.",
            lambda: redis.script_reloads,
        ),
        single("ratelimitd_redis_in_flight", "gauge", "Charges waiting for Redis.", lambda: redis.in_flight),
        by_label(
            "ratelimitd_redis_node_up", "gauge", "Whether a server can be asked.", "node",
            lambda: [(node.name, int(node.refusal is None)) for node in redis.nodes],
        ),
        by_label(
            "ratelimitd_redis_breaker_open", "gauge", "Whether a server is left alone but for probes.", "node",
            lambda: [(node.name, int(node.breaker.open)) for node in redis.nodes],
        ),
        single(
            "ratelimitd_redis_breaker_opens_total", "counter", "Times a server began to be left alone.",
            lambda: redis.breaker_opens,
        ),
        by_label(
            "ratelimitd_redis_redirects_total", "counter", "Calls that a cluster sent elsewhere.", "kind",
            redis.redirects.items,
        ),
        single(
            "ratelimitd_redis_torn_total", "counter",
            "Requests over several slots that were charged in part instead of all or nothing.", lambda: redis.torn,
        ),
        single(
            "ratelimitd_redis_clock_skew_seconds", "gauge", "Redis' clock minus ours.", lambda: redis.skew,
        ),
        by_label(
            "ratelimitd_store_fallbacks_total", "counter", "Failures, by their limit's on_store_failure.",
            "policy", lambda: [(policy.name.lower(), count) for policy, count in parts.fallbacks.items()],
        ),
    ]  # fmt: skip
