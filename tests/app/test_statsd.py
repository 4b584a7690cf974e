"""A process that sends metrics: what arrives at a statsd, and what it says of it."""

import pytest

from ratelimitd.app.engine import build
from ratelimitd.app.life import StartError
from ratelimitd.app.statsd import _write
from ratelimitd.app.upstreams import families, stats
from ratelimitd.limiter import OverLimitCache
from ratelimitd.observe.metrics import family_text
from ratelimitd.settings import load
from ratelimitd.statsd import Stat
from ratelimitd.statsd.wire import line
from tests.app.test_process import call
from tests.service import service
from tests.statsd.receiving import datagrams, tcp

POLICY = """
domain: d
descriptors:
  - {key: user, value: x, rate_limit: {unit: day, requests_per_unit: 1}}
"""
LIMIT = "ratelimit.service.rate_limit.d.user_x"


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def statsd_env(address, **more):
    return {"STATSD_HOST": address[0], "STATSD_PORT": str(address[1]), "STATS_FLUSH_INTERVAL": "50ms", **more}


@pytest.mark.process
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_a_process_sends_its_metrics_to_statsd(policy, protocol):
    """By STATSD_PROTOCOL, with EXTRA_TAGS in the names; the start says where to, and the end sends what is left."""
    async with tcp() if protocol == "tcp" else datagrams() as received:
        env = statsd_env(received.address, STATSD_PROTOCOL=protocol, EXTRA_TAGS="zone:a.b,env:prod")
        async with service("--config", policy, env=env) as running:
            assert (await running.logged("metrics are sent"))["to"] == "statsd"
            assert [await call(running.grpc) for _ in range(2)] == ["OK", "OVER_LIMIT"]
            running.terminate()
            assert await running.ended() == 0
        tags = ".__env=prod.__zone=a_b"
        await received.has(f"ratelimit.service.config_load_success{tags}:1|c")
        sums = {}
        for each in received.lines:
            name, _, value = each.partition(":")
            sums.setdefault(name, []).append(value)
        over = sums[f"{LIMIT}.over_limit{tags}"]
        assert over == ["1|c"]
        assert sum(int(each.removesuffix("|c")) for each in sums[f"{LIMIT}.total_hits{tags}"]) == 2
        assert len(sums[f"ratelimit_server.ShouldRateLimit.response_time{tags}"]) == 2


@pytest.mark.process
async def test_a_process_sends_its_metrics_to_datadogs_agent(policy, tmp_path):
    """On a unix socket, with tags from EXTRA_TAGS and from the rules."""
    path = str(tmp_path / "dsd.socket")
    env = {
        "USE_STATSD": "false",
        "USE_DOG_STATSD": "true",
        "STATSD_HOST": f"unix://{path}",
        "STATS_FLUSH_INTERVAL": "50ms",
        "EXTRA_TAGS": "env:prod",
        "USE_DOG_STATSD_MOGRIFIERS": "limit",
        "DOG_STATSD_MOGRIFIER_LIMIT_PATTERN": r"^ratelimit\.service\.rate_limit\.(.+)\.(.+)\.(.+)$",
        "DOG_STATSD_MOGRIFIER_LIMIT_NAME": "ratelimit.service.rate_limit.$3",
        "DOG_STATSD_MOGRIFIER_LIMIT_TAGS": "domain:$1,descriptor:$2",
    }
    async with datagrams(path) as received, service("--config", policy, env=env) as running:
        assert await call(running.grpc) == "OK"
        tags = "env:prod,domain:d,descriptor:user_x"
        await received.has(f"ratelimit.service.rate_limit.total_hits:1|c|#{tags}")
        await received.has("ratelimit_server.ShouldRateLimit.total_requests:1|c|#env:prod")


@pytest.mark.process
async def test_a_statsd_that_is_away_costs_no_call(policy):
    """It is logged once; calls are answered, and the metric of left out flushes grows."""
    async with tcp() as gone:
        env = statsd_env(gone.address)
    async with service("--config", policy, env=env) as running:
        assert (await running.logged("statsd is away"))["address"] == f"127.0.0.1:{gone.address[1]}"
        assert await call(running.grpc) == "OK"


@pytest.mark.process
@pytest.mark.parametrize(("env", "told"), [({}, True), ({"USE_STATSD": "false"}, False), ({"EXTRA_TAGS": ""}, False)])
async def test_a_start_says_what_would_send_metrics(policy, env, told):
    """Where upstream's default would send to statsd and nothing does, unless a setting says so."""
    async with service("--config", policy, env=env) as running:
        lines = [record for record in running.log if "USE_STATSD=true sends them" in record["@message"]]
        assert bool(lines) is told


async def test_the_state_of_connections_and_of_the_cache_has_upstreams_names():
    """As far as there are such things here."""
    second = {"REDIS_PERSECOND": "true", "REDIS_PERSECOND_URL": "localhost:2"}
    parts = build(load({"REDIS_URL": "localhost:1", "LOCAL_CACHE_SIZE_IN_BYTES": "1000000", **second}, {}))
    main, per_second = parts.redis.topology.pools
    main.made, main.closed, per_second.made = 5, 3, 7
    (cache,) = (guard for guard in parts.engine.guards if isinstance(guard, OverLimitCache))
    cache.lookups, cache.hits, cache.evicted = 9, 4, 2
    begun = ("ratelimit.redis", "ratelimit.localcache")
    assert [stat for stat in stats(parts) if stat.name.startswith(begun)] == [
        Stat("ratelimit.redis_pool.cx_active", "gauge", 2),
        Stat("ratelimit.redis_pool.cx_total", "counter", 5),
        Stat("ratelimit.redis_pool.cx_local_close", "counter", 3),
        Stat("ratelimit.redis_per_second_pool.cx_active", "gauge", 7),
        Stat("ratelimit.redis_per_second_pool.cx_total", "counter", 7),
        Stat("ratelimit.redis_per_second_pool.cx_local_close", "counter", 0),
        Stat("ratelimit.localcache.entryCount", "gauge", 0),
        Stat("ratelimit.localcache.lookupCount", "gauge", 9),
        Stat("ratelimit.localcache.hitCount", "gauge", 4),
        Stat("ratelimit.localcache.missCount", "gauge", 5),
        Stat("ratelimit.localcache.evacuateCount", "gauge", 2),
    ]
    page = b"".join([family_text(each).encode() for each in families(parts)])
    assert b"ratelimit_redis_per_second_pool_cx_total 7\n" in page
    assert b"ratelimit_localcache_hitCount 4\n" in page


def test_a_wrong_pattern_ends_the_start():
    """It is told with the name of its rule."""
    names = {"PATTERN": "(", "NAME": "x"}
    mogrifier = {f"DOG_STATSD_MOGRIFIER_A_{name}": value for name, value in names.items()}
    env = {"USE_STATSD": "false", "USE_DOG_STATSD": "true", "USE_DOG_STATSD_MOGRIFIERS": "a", **mogrifier}
    with pytest.raises(StartError, match="USE_DOG_STATSD_MOGRIFIERS: failed to compile pattern for a"):
        _write(load(env, {}))


def test_dog_statsd_without_rules_keeps_the_names():
    """And has its tags behind the type."""
    settings = load({"USE_STATSD": "false", "USE_DOG_STATSD": "true", "EXTRA_TAGS": "a:b"}, {})
    assert line(_write(settings)("x.y"), 1, b"|c") == b"x.y:1|c|#a:b\n"
