"""The metrics of the service, and the objects that their values are read from."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import NamedTuple

from ratelimitd import __build__, __commit__, __version__
from ratelimitd.observe.loop import LoopLag
from ratelimitd.observe.metrics import LIMIT_PREFIX, Counters, Family, by_label, render, single
from ratelimitd.observe.output import dropped_lines
from ratelimitd.observe.process import runtime_families
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.stores.redis import RedisStore

from .engine import Parts
from .policies import ActivePolicy, Policies
from .upstreams import families as pools_and_cache

Scrape = Callable[[], AsyncGenerator[bytes, None]]
"""Renders the text of one scrape in chunks."""


class Upstreams(NamedTuple):
    """The metrics of envoyproxy/ratelimit in another form.

    Attributes:
        families: those that do not belong to a limit.
        chunks: text of those of limits; None: as always.
    """

    families: Sequence[Family]
    chunks: Callable[[], Iterable[bytes]] | None


def exposition(
    parts: Parts, policies: Policies, lag: LoopLag, more: Iterable[Family] = (), upstreams: Upstreams | None = None
) -> Scrape:
    """Return a function that renders the engine's metrics and ``more``."""
    service = upstream_families(parts)
    chunks = None if upstreams is None else upstreams.chunks
    families = [
        *(service if upstreams is None else upstreams.families),
        *_unmapped_families(parts.counters, parts.tallies.unknown_domains),
        *_policy_families(policies),
        *_memory_families(parts.memory),
        single(
            "ratelimitd_overflow_charges_total", "counter",
            "Charges of new keys beyond NEW_KEYS_PER_SECOND, which went to a shared counter.",
            lambda: 0 if parts.new_keys is None else parts.new_keys.redirected,
        ),
        single(
            "ratelimitd_negative_hits_refused_total", "counter",
            "Charges that would have given hits back, and cost 0 by ENABLE_NEGATIVE_HITS=false.",
            lambda: 0 if parts.no_give_backs is None else parts.no_give_backs.refused,
        ),
        single(
            "ratelimitd_post_paid_limits", "gauge",
            "Limits without `charge` that record hits above 0 as settlements, since requests ask them with 0.",
            lambda: len(parts.post_paid.switched_on()),
        ),
        single(
            "ratelimitd_settlements_waiting", "gauge", "Settlements that wait until their store is back.",
            lambda: len(parts.post_paid),
        ),
        single(
            "ratelimitd_settlements_late_total", "counter", "Settlements that waited, and were recorded.",
            lambda: parts.post_paid.recorded,
        ),
        single(
            "ratelimitd_settlements_lost_total", "counter",
            "Settlements that met a failing store, and were not recorded or may not have been.",
            lambda: parts.post_paid.dropped,
        ),
        *(() if parts.redis is None else _redis_families(parts, parts.redis)),
        *more,
        *_process_families(lag),
    ]  # fmt: skip

    def scrape() -> AsyncGenerator[bytes, None]:
        parts.post_paid.fade(time.time_ns() // 1000)
        return render(parts.tallies, families, runtime_families, None if chunks is None else chunks())

    return scrape


def upstream_families(parts: Parts) -> list[Family]:
    """Return the metrics of envoyproxy/ratelimit that do not belong to a limit."""
    return [*service_families(parts.counters, parts.tallies.unknown_domains), *pools_and_cache(parts)]


def service_families(counters: Counters, unknown_domains: Callable[[], Iterable[tuple[str, int]]]) -> list[Family]:
    """Return those of its calls and of its policy."""
    return [
        by_label(
            "ratelimit_service_should_rate_limit_error", "counter", "Failed calls, by type of error.", "err_type",
            lambda: [("redis_error", counters.redis_error), ("service_error", counters.service_error)],
        ),
        by_label(
            "ratelimit_service_total_requests", "counter", "Calls answered.", "grpc_method",
            counters.total_requests.items,
        ),
        by_label(
            "ratelimit_service_response_time_seconds", "histogram", "Time to answer a call in seconds.", "grpc_method",
            counters.response_time.items,
        ),
        by_label(
            f"{LIMIT_PREFIX}domain_not_found", "counter", "Descriptors of domains that are not in the policy.",
            "domain", unknown_domains,
        ),
        single(
            "ratelimit_service_config_load_success", "counter", "Successful policy loads.",
            lambda: counters.config_load_success,
        ),
        single(
            "ratelimit_service_config_load_error", "counter",
            "Failed policy loads; an already active policy stays active.",
            lambda: counters.config_load_error,
        ),
        single(
            "ratelimit_service_global_shadow_mode", "counter", "Responses that SHADOW_MODE changed to OK.",
            lambda: counters.global_shadow_mode,
        ),
    ]  # fmt: skip


def _unmapped_families(counters: Counters, unknown_domains: Callable[[], Iterable[tuple[str, int]]]) -> list[Family]:
    """Return metrics of upstream that the alerts and the board read, under names that no mapping file changes.

    Envoy Gateway's file has response times in milliseconds, and leaves the others out.
    """
    return [
        by_label(
            "ratelimitd_response_time_seconds", "histogram", "Time to answer a call in seconds.", "grpc_method",
            counters.response_time.items,
        ),
        by_label(
            "ratelimitd_domain_not_found_total", "counter", "Descriptors of domains that are not in the policy.",
            "domain", unknown_domains,
        ),
        single(
            "ratelimitd_shadowed_responses_total", "counter", "Responses that SHADOW_MODE changed to OK.",
            lambda: counters.global_shadow_mode,
        ),
    ]  # fmt: skip


def _policy_families(policies: Policies) -> list[Family]:
    return [
        single(
            "ratelimitd_policy_generation", "gauge", "Policies activated since the start of the process.",
            lambda: policies.active.generation,
        ),
        single(
            "ratelimitd_policy_age_seconds", "gauge", "Seconds since the active policy was loaded.",
            lambda: time.monotonic() - policies.active.loaded,
        ),
        single(
            "ratelimitd_policy_rules", "gauge", "Limits in the active policy.", lambda: policies.active.limits,
        ),
        single(
            "ratelimitd_policy_refused", "gauge", "1 while the last policy that was read is rejected.",
            lambda: int(bool(policies.active.refused)),
        ),
        Family(
            "ratelimitd_policy_info", "gauge", "Hash of the active policy's files, and where they are, as labels.",
            ("version", "source"), lambda: _info(policies.active),
        ),
        *(() if policies.overlay is None else policies.overlay.families()),
    ]  # fmt: skip


def _info(active: ActivePolicy) -> list[tuple[tuple[str, ...], int]]:
    return [((active.version, active.source), 1)] if active.generation else []


def _memory_families(memory: MemoryStore) -> list[Family]:
    return [
        single("ratelimitd_memory_entries", "gauge", "Counters held in memory.", lambda: len(memory)),
        single("ratelimitd_memory_bytes", "gauge", "Memory used by counters in bytes.", lambda: memory.bytes),
        single(
            "ratelimitd_memory_evictions_total", "counter", "Counters evicted from memory before they expired.",
            lambda: memory.evictions,
        ),
    ]  # fmt: skip


def _redis_families(parts: Parts, redis: RedisStore) -> list[Family]:
    watch = parts.redis_watch
    return [
        single(
            "ratelimitd_store_latency_seconds", "histogram", "Round-trip time to the store in seconds.",
            lambda: watch.latency,
        ),
        by_label(
            "ratelimitd_store_failures_total", "counter", "Charges that failed in the store, by kind of failure.",
            "kind", redis.failures.items,
        ),
        single(
            "ratelimitd_store_connected", "gauge", "1 while the store is connected.", lambda: int(redis.connected),
        ),
        single("ratelimitd_redis_batch_charges", "histogram", "Charges per script call.", lambda: watch.charges),
        single("ratelimitd_redis_round_trips_total", "counter", "Round trips to Redis.", lambda: redis.round_trips),
        single(
            "ratelimitd_redis_reconnects_total", "counter", "Reconnections to Redis servers.",
            lambda: redis.reconnects,
        ),
        single(
            "ratelimitd_redis_script_reloads_total", "counter", "Script reloads after Redis lost the script.",
            lambda: redis.script_reloads,
        ),
        single("ratelimitd_redis_in_flight", "gauge", "Charges in flight to Redis.", lambda: redis.in_flight),
        by_label(
            "ratelimitd_redis_node_up", "gauge", "1 while the server is connected and its circuit breaker is closed.",
            "node", lambda: [(node.name, int(node.refusal is None)) for node in redis.nodes],
        ),
        by_label(
            "ratelimitd_redis_node_refusing", "gauge",
            "1 while the server answers every call with an error (no permission, no memory …).", "node",
            lambda: [(node.name, int(bool(node.refusals.reason))) for node in redis.nodes],
        ),
        by_label(
            "ratelimitd_redis_breaker_open", "gauge", "1 while the server's circuit breaker is open.", "node",
            lambda: [(node.name, int(node.breaker.open)) for node in redis.nodes],
        ),
        single(
            "ratelimitd_redis_breaker_opens_total", "counter", "Circuit-breaker openings.",
            lambda: redis.breaker_opens,
        ),
        by_label(
            "ratelimitd_redis_redirects_total", "counter", "Calls redirected by a cluster, by kind of redirection.",
            "kind", redis.redirects.items,
        ),
        single(
            "ratelimitd_redis_torn_total", "counter",
            "All-or-nothing requests over several slots that were charged only partially.",
            lambda: redis.charged_in_part,
        ),
        single(
            "ratelimitd_redis_clock_skew_seconds", "gauge", "Redis clock minus the local clock in seconds.",
            lambda: redis.skew,
        ),
        by_label(
            "ratelimitd_store_fallbacks_total", "counter", "Store failures, by the limit's on_store_failure.",
            "policy", lambda: [(policy.name.lower(), count) for policy, count in parts.fallbacks.items()],
        ),
    ]  # fmt: skip


def _process_families(lag: LoopLag) -> list[Family]:
    return [
        single("ratelimitd_loop_lag_seconds", "gauge", "Event-loop lag of the last tick in seconds.", lambda: lag.last),
        single(
            "ratelimitd_loop_lag_longest_seconds", "gauge", "Largest event-loop lag in the last 30 to 60 s.",
            lambda: lag.longest,
        ),
        by_label(
            "ratelimitd_log_lines_dropped_total", "counter", "Lines of the log that were not read in time, or refused.",
            "stream", dropped_lines,
        ),
        Family(
            "ratelimitd_build_info", "gauge", "Version of the running process, its build and commit, as labels.",
            ("version", "build", "commit"), lambda: [((__version__, __build__, __commit__), 1)],
        ),
    ]  # fmt: skip
