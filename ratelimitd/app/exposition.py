"""Which metrics the service exposes, and where their numbers are."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable

from ratelimitd import __version__
from ratelimitd.observe.loop import LoopLag
from ratelimitd.observe.metrics import LIMIT_PREFIX, Counters, Family, by_label, render, single
from ratelimitd.observe.process import runtime_families
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.stores.redis import RedisStore

from .engine import Parts
from .policies import Policies

Scrape = Callable[[], AsyncGenerator[bytes, None]]
"""Makes the text of one scrape, in chunks."""


def exposition(parts: Parts, policies: Policies, lag: LoopLag, more: Iterable[Family] = ()) -> Scrape:
    """Expose the engine's numbers, and ``more``."""
    families = [
        *service_families(parts.counters, parts.tallies.unknown_domains),
        *_policy_families(policies),
        *_memory_families(parts.memory),
        single(
            "ratelimitd_overflow_charges_total", "counter",
            "Charges of new keys, past NEW_KEYS_PER_SECOND, that went to a counter they share.",
            lambda: 0 if parts.new_keys is None else parts.new_keys.redirected,
        ),
        *(() if parts.redis is None else _redis_families(parts, parts.redis)),
        *more,
        *_process_families(lag),
    ]  # fmt: skip
    return lambda: render(parts.tallies, families, runtime_families)


def service_families(counters: Counters, unknown_domains: Callable[[], Iterable[tuple[str, int]]]) -> list[Family]:
    """Return envoyproxy/ratelimit's metrics that belong to no limit."""
    return [
        by_label(
            "ratelimit_service_should_rate_limit_error", "counter", "Calls that failed, by whose fault.", "err_type",
            lambda: [("redis_error", counters.redis_error), ("service_error", counters.service_error)],
        ),
        by_label(
            "ratelimit_service_total_requests", "counter", "Calls answered.", "grpc_method",
            counters.total_requests.items,
        ),
        by_label(
            "ratelimit_service_response_time_seconds", "histogram", "Time to answer a call.", "grpc_method",
            counters.response_time.items,
        ),
        by_label(
            f"{LIMIT_PREFIX}domain_not_found", "counter", "Descriptors of a domain that no policy has.", "domain",
            unknown_domains,
        ),
        single(
            "ratelimit_service_config_load_success", "counter", "Policies loaded.",
            lambda: counters.config_load_success,
        ),
        single(
            "ratelimit_service_config_load_error", "counter", "Policies refused; the old one stayed.",
            lambda: counters.config_load_error,
        ),
        single(
            "ratelimit_service_global_shadow_mode", "counter", "Answers that SHADOW_MODE turned to OK.",
            lambda: counters.global_shadow_mode,
        ),
    ]  # fmt: skip


def _policy_families(policies: Policies) -> list[Family]:
    return [
        single(
            "ratelimitd_policy_generation", "gauge", "Policies taken into force since the start.",
            lambda: policies.in_force.generation,
        ),
        single(
            "ratelimitd_policy_age_seconds", "gauge", "Time since the policy in force was loaded.",
            lambda: time.monotonic() - policies.in_force.loaded,
        ),
        single(
            "ratelimitd_policy_rules", "gauge", "Limits in the policy in force.", lambda: policies.in_force.limits,
        ),
    ]  # fmt: skip


def _memory_families(memory: MemoryStore) -> list[Family]:
    return [
        single("ratelimitd_memory_entries", "gauge", "Counters held in memory.", lambda: len(memory)),
        single("ratelimitd_memory_bytes", "gauge", "Bytes that counters in memory take.", lambda: memory.bytes),
        single(
            "ratelimitd_memory_evictions_total", "counter", "Counters dropped before their time for room.",
            lambda: memory.evictions,
        ),
    ]  # fmt: skip


def _redis_families(parts: Parts, redis: RedisStore) -> list[Family]:
    watch = parts.redis_watch
    return [
        single(
            "ratelimitd_store_latency_seconds", "histogram", "Time of one round trip to the store.",
            lambda: watch.latency,
        ),
        by_label(
            "ratelimitd_store_failures_total", "counter", "Charges without a decision, by kind.", "kind",
            redis.failures.items,
        ),
        single(
            "ratelimitd_store_connected", "gauge", "Whether the store is connected.", lambda: int(redis.connected),
        ),
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
            "Requests over several slots that were charged in part instead of all or nothing.",
            lambda: redis.charged_in_part,
        ),
        single(
            "ratelimitd_redis_clock_skew_seconds", "gauge", "Redis' clock minus ours.", lambda: redis.skew,
        ),
        by_label(
            "ratelimitd_store_fallbacks_total", "counter", "Failures, by their limit's on_store_failure.",
            "policy", lambda: [(policy.name.lower(), count) for policy, count in parts.fallbacks.items()],
        ),
    ]  # fmt: skip


def _process_families(lag: LoopLag) -> list[Family]:
    return [
        single("ratelimitd_loop_lag_seconds", "gauge", "How late the event loop's last tick was.", lambda: lag.last),
        single(
            "ratelimitd_loop_lag_longest_seconds", "gauge", "Its latest tick of the last half minute or more.",
            lambda: lag.longest,
        ),
        by_label("ratelimitd_build_info", "gauge", "The version that runs.", "version", lambda: [(__version__, 1)]),
    ]  # fmt: skip
