"""Which metrics a service exposes, and that each reads its own number."""

import time

import pytest

from ratelimitd import __build__, __commit__, __version__
from ratelimitd.app.engine import build
from ratelimitd.app.exposition import exposition
from ratelimitd.app.policies import Policies, source_of
from ratelimitd.observe.loop import LoopLag
from ratelimitd.observe.metrics import Histogram
from ratelimitd.settings import load

KINDS = ("store_latency", "store_failures", "store_connected", "memory", "policy", "loop", "build")
OURS = tuple(f"ratelimitd_{kind}" for kind in KINDS)


class Memory:
    """A store in memory that holds and dropped something."""

    bytes, evictions = 4, 5

    def __len__(self):
        return 3


def rig(env):
    settings = load(env, {})
    parts = build(settings)
    return parts, Policies(source_of(settings, ("nowhere",)), settings, parts)


async def scraped(parts, policies):
    """Sample lines by their name with labels."""
    text = b"".join([chunk async for chunk in exposition(parts, policies, LoopLag())()]).decode()
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


async def test_the_services_own_counters_have_upstreams_names():
    """Errors by err_type, calls and time by grpc_method, loads without labels."""
    parts, policies = rig({})
    counters = parts.counters
    counters.called("ShouldRateLimit", 0.003, 1)
    counters.called("ShouldRateLimit", 0.02, 1)
    counters.redis_error, counters.service_error, counters.config_load_error = 1, 2, 3
    counters.config_load_success, counters.global_shadow_mode = 4, 5
    parts.tallies.unknown_domain("nope", 7)
    found = {name: value for name, value in (await scraped(parts, policies)).items() if "_service_" in name}
    method = 'grpc_method="ShouldRateLimit"'
    buckets = {name: value for name, value in found.items() if "_bucket" in name}
    assert {name: value for name, value in found.items() if name not in buckets} == {
        'ratelimit_service_should_rate_limit_error{err_type="redis_error"}': 1,
        'ratelimit_service_should_rate_limit_error{err_type="service_error"}': 2,
        f"ratelimit_service_total_requests{{{method}}}": 2,
        f"ratelimit_service_response_time_seconds_sum{{{method}}}": pytest.approx(0.023),
        f"ratelimit_service_response_time_seconds_count{{{method}}}": 2,
        'ratelimit_service_rate_limit_domain_not_found{domain="nope"}': 7,
        "ratelimit_service_config_load_success": 4,
        "ratelimit_service_config_load_error": 3,
        "ratelimit_service_global_shadow_mode": 5,
    }
    assert buckets[f'ratelimit_service_response_time_seconds_bucket{{{method},le="0.005"}}'] == 1
    assert buckets[f'ratelimit_service_response_time_seconds_bucket{{{method},le="+Inf"}}'] == 2


async def test_our_own_metrics_are_prefixed_and_complete():
    """Store, memory, policy, loop and build each have theirs."""
    parts, policies = rig({"REDIS_URL": "localhost:1"})
    parts.redis_watch.latency = Histogram((0.001,))
    parts.redis_watch.latency.observe(0.5)
    parts.redis.failures = {"timeout": 2}
    policies.active = policies.active._replace(
        generation=6, version="v1", source="/p", refused=("bad",), loaded=time.monotonic() - 7.5, limits=8
    )
    found = await scraped(parts._replace(memory=Memory()), policies)
    assert {name: found[name] for name in found if name.startswith(OURS)} == {
        'ratelimitd_store_latency_seconds_bucket{le="0.001"}': 0,
        'ratelimitd_store_latency_seconds_bucket{le="+Inf"}': 1,
        "ratelimitd_store_latency_seconds_sum": 0.5,
        "ratelimitd_store_latency_seconds_count": 1,
        'ratelimitd_store_failures_total{kind="timeout"}': 2,
        "ratelimitd_store_connected": 0,
        "ratelimitd_memory_entries": 3,
        "ratelimitd_memory_bytes": 4,
        "ratelimitd_memory_evictions_total": 5,
        "ratelimitd_policy_generation": 6,
        "ratelimitd_policy_age_seconds": pytest.approx(7.5, abs=5),
        "ratelimitd_policy_rules": 8,
        "ratelimitd_policy_refused": 1,
        'ratelimitd_policy_info{version="v1",source="/p"}': 1,
        "ratelimitd_loop_lag_seconds": 0,
        "ratelimitd_loop_lag_longest_seconds": 0,
        f'ratelimitd_build_info{{version="{__version__}",build="{__build__}",commit="{__commit__}"}}': 1,
    }


async def test_without_a_policy_there_is_no_version():
    """A version that is empty would look like another policy beside those of the replicas."""
    found = await scraped(*rig({}))
    assert [name for name in found if "policy_info" in name] == []
    assert found["ratelimitd_policy_refused"] == 0
