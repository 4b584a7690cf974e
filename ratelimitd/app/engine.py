"""Builds the engine from the settings: store, guards, service and their counters."""

import asyncio
import secrets
import time
from collections import Counter
from typing import NamedTuple

from ratelimitd.algorithms import ID_BYTES, SECOND
from ratelimitd.limiter import (
    Ask,
    Engine,
    Failure,
    Fallback,
    Guard,
    Modes,
    NewKeys,
    NoGiveBacks,
    OverLimitCache,
    PlanOptions,
    PostPaid,
    Tallies,
)
from ratelimitd.live import Live
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import OnStoreFailure
from ratelimitd.rls import (
    DEBUG_LINES,
    Bounds,
    DecisionLog,
    EncodeOptions,
    Logged,
    RateLimitService,
    ServiceOptions,
)
from ratelimitd.settings import Settings
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.stores.redis import RedisStore

from .post_paid import LateSettlements, tell
from .redis import RedisWatch, redis_options
from .store_failures import StoreFailureLog

log = get_logger(__name__)

FALLBACK_BYTES = 30 << 20
"""Memory for counters of ``on_store_failure: local``: 100,000 keys of 300 bytes, many in one outage."""


class Parts(NamedTuple):
    """The engine, the service that answers Envoy with it, and their counters.

    Attributes:
        memory: the store of all counters, or the fallback of ``on_store_failure: local``.
        redis: None if counters are kept in memory.
        new_keys: None if NEW_KEYS_PER_SECOND is 0.
        no_give_backs: None if ENABLE_NEGATIVE_HITS is true.
        decisions: the decision log.
        post_paid: switches of limits, and settlements that wait.
        live: what the live view shows; None if LIVE_MAX_BYTES is 0.
    """

    engine: Engine
    service: RateLimitService
    tallies: Tallies
    counters: Counters
    memory: MemoryStore
    redis: RedisStore | None
    redis_watch: RedisWatch
    fallbacks: Counter[OnStoreFailure]
    new_keys: NewKeys | None
    no_give_backs: NoGiveBacks | None
    decisions: DecisionLog
    post_paid: PostPaid
    live: Live | None


def build(settings: Settings) -> Parts:
    """Build the engine; it can decide once it has a planner. Requires a running event loop."""
    tallies, counters = Tallies(settings.request_made_series), Counters()
    fallbacks: Counter[OnStoreFailure] = Counter(dict.fromkeys(OnStoreFailure, 0))
    loop = asyncio.get_running_loop()
    watch = RedisWatch(fallbacks, loop.time, loop.call_later)
    options = redis_options(settings)
    redis = None if options is None else RedisStore(options, watch)
    memory = MemoryStore(settings.memory_max_bytes if redis is None else FALLBACK_BYTES)
    no_give_backs = None if settings.enable_negative_hits else NoGiveBacks(_refused)
    guards: list[Guard] = [] if no_give_backs is None else [no_give_backs]
    post_paid = PostPaid(settings.settlements_kept)
    tell(post_paid)
    if redis is not None:
        watch.troubles = lambda: redis.topology.troubles
        failures = StoreFailureLog(loop.time, loop.call_later, keys=settings.log_store_keys)

        def failed(ask: Ask, index: int, failure: Failure, now: int) -> None:
            fallbacks[ask.plan.charges[index].limit.on_store_failure] += 1
            failures.failed(ask, index, failure, now)

        guards.append(Fallback(memory, settings.replicas, failed, post_paid.keep))
        redis.left = LateSettlements(post_paid, redis, loop.call_later).left
    new_keys = None
    if settings.new_keys_per_second:
        # In front of the cache, which otherwise stores denials of the shared counter and never finds them.
        new_keys = NewKeys(settings.new_keys_per_second, settings.cache_key_prefix.encode())
        guards.append(new_keys)
    if settings.local_cache_size_in_bytes:
        guards.append(OverLimitCache(settings.local_cache_size_in_bytes, post_paid.refused))
    modes = Modes(settings.shadow_mode, settings.quota_mode)
    engine = Engine(memory if redis is None else redis, counters, guards, modes)
    live = None
    if settings.live_max_bytes:
        secret = settings.identity_secret.encode() or secrets.token_bytes()
        live = Live(settings.live_max_bytes, secret, time.time_ns() // 1_000, tallies, modes)
        engine.watcher = live
    service = RateLimitService(engine, tallies, counters.called, _service_options(settings))
    decisions = DecisionLog(engine, _always_logged(settings))
    stores = memory, redis, watch, fallbacks
    return Parts(engine, service, tallies, counters, *stores, new_keys, no_give_backs, decisions, post_paid, live)


def _refused(ask: Ask) -> None:
    """Warn of the first give-back; the metric counts all of them."""
    note = "such hits cost 0 and give nothing back, since ENABLE_NEGATIVE_HITS is false"
    log.warning("is_negative_hits has no effect", domain=ask.plan.request.domain.decode(errors="replace"), note=note)


def _always_logged(settings: Settings) -> Logged | None:
    if settings.log_decisions:
        return Logged()
    return Logged(lines=DEBUG_LINES) if settings.log_level in {"debug", "trace"} else None


def plan_options(settings: Settings, modes: Modes) -> PlanOptions:
    """Return the settings that apply to planning."""
    return PlanOptions(
        all_or_nothing=settings.stop_cache_key_increment_when_overlimit,
        modes=modes,
        near_limit_ratio=settings.near_limit_ratio,
        identity_secret=settings.identity_secret.encode(),
        calls=new_call,
    )


def new_call() -> bytes:
    """Return an id that cannot be guessed: a caller that named the holds of another one would free them."""
    return secrets.token_hex(ID_BYTES // 2).encode()


def store_budget(settings: Settings) -> int:
    """Return the time limit of a store call, µs."""
    return int(settings.store_budget * SECOND)


def _service_options(settings: Settings) -> ServiceOptions:
    names = (settings.limit_limit_header, settings.limit_remaining_header, settings.limit_reset_header)
    return ServiceOptions(
        bounds=Bounds(settings.max_descriptors, settings.max_entries),
        encode=EncodeOptions(
            limit_headers=names if settings.limit_response_headers_enabled else (),
            ietf_headers=settings.ietf_ratelimit_headers,
            dynamic_metadata=settings.response_dynamic_metadata,
            reason_header=settings.limit_reason_header,
            reason_metadata=settings.response_dynamic_metadata_reason,
            multipliers=settings.status_unit_multiplier,
        ),
        budget=store_budget(settings),
    )
