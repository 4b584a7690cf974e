"""What doctor makes of figures that no server gives on demand."""

import time

import pytest

from ratelimitd.config.redis_address import Deployment, RedisAddress
from ratelimitd.doctor import redis_rules
from ratelimitd.doctor.finding import Level
from ratelimitd.doctor.redis_facts import Facts, Probes
from ratelimitd.doctor.redis_servers import CheckedRedis, CheckedServer, gaps
from ratelimitd.stores.redis import ConnectOptions, Sharding

ADDRESS = RedisAddress("redis.test")


def facts(**known):
    redis = CheckedRedis("redis", "REDIS_", ConnectOptions(Deployment((ADDRESS,))), b"", 0.015)
    return Facts(CheckedServer(redis, ADDRESS), **known)  # type: ignore[arg-type]


def level(found):
    (finding,) = found
    return finding.level


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.004] * 100, Level.OK),
        ([0.001] * 98 + [0.006] * 2, Level.WARN),
        ([0.001] * 98 + [0.016] * 2, Level.BAD),
        ([0.001] * 99 + [0.100], Level.OK),
    ],
)
def test_latency(times, expected):
    """Above a third of the budget is a warning, above it bad; one call of a hundred may be this host's own fault."""
    assert level(redis_rules._latency(facts(probes=Probes(times)))) is expected


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0.020] * 98 + [0.021] * 2, "STORE_BUDGET=63ms"),
        ([0.006] * 100, "STORE_BUDGET=18ms"),
        ([0.001] * 98 + [0.016] * 2, "SLOWLOG GET"),
    ],
)
def test_what_to_set(times, words):
    """A server that is always slow needs a budget of three times its p99; one that is slow at times does not."""
    (finding,) = redis_rules._latency(facts(probes=Probes(times)))
    assert words in finding.change
    assert ("always slower" in finding.found) is (min(times) > 0.015)


@pytest.mark.parametrize(
    ("sharding", "expected", "words"),
    [
        (Sharding(sharded=False), Level.OK, "one server has every key"),
        (Sharding(sharded=True, why="CROSSSLOT x"), Level.WARN, "takes two steps"),
        (Sharding(sharded=None, why="OOM x"), Level.WARN, "unknown: OOM x"),
    ],
)
def test_sharding(sharding, expected, words):
    """Several servers behind one address are a warning, and so is a trial that came to nothing."""
    (finding,) = redis_rules._sharding(facts(sharding=sharding))
    assert finding.level is expected
    assert words in finding.found


@pytest.mark.parametrize(
    ("skew", "expected"), [(0.9, Level.OK), (-1.1, Level.WARN), (1.1, Level.WARN), (1.0004, Level.OK)]
)
def test_clock(skew, expected):
    """More than a second either way is a warning, less what the round trip leaves unsure."""
    assert level(redis_rules._clock(facts(probes=Probes([0.001], skew=skew)))) is expected


@pytest.mark.parametrize(("used", "warned"), [("79", False), ("81", True)])
def test_full_memory(used, warned):
    """Memory above four fifths of its bound is a warning."""
    info = {"maxmemory": "100", "used_memory": used, "maxmemory_policy": "volatile-ttl"}
    assert (Level.WARN in [each.level for each in redis_rules._memory(facts(info=info))]) is warned


@pytest.mark.parametrize(("least", "expected"), [("0", Level.WARN), ("1", Level.OK), ("2", Level.BAD)])
def test_replicas(least, expected):
    """With one good replica, 0 to write is a warning, 1 is well and 2 refuses every write."""
    info = {"connected_slaves": "1", **({} if least == "0" else {"min_slaves_good_slaves": "1"})}
    assert level(redis_rules._replicas(facts(info=info, config={"min-replicas-to-write": least}))) is expected


@pytest.mark.parametrize(("hz", "budget", "warned"), [("10", 0.015, True), ("10", 0.03, False), ("17", 0.015, False)])
def test_keys_that_expire(hz, budget, warned):
    """Redis removes them for a quarter of each 1/hz s: longer than the budget is a warning, with the time."""
    about = facts(info={"configured_hz": hz})
    about.server = about.server._replace(redis=about.server.redis._replace(budget=budget))
    found = [finding.found for finding in redis_rules._expiry(about)]
    assert found == (
        ["hz is 10: while many keys expire, it removes them for 25 ms at a time; STORE_BUDGET is 15 ms"] * warned
    )


def test_forks():
    """A fork that took longer than the budget is a warning, a shorter one is nothing to tell."""
    assert list(redis_rules._disk(facts(info={"latest_fork_usec": "14000"}))) == []
    assert level(redis_rules._disk(facts(info={"latest_fork_usec": "16000"}))) is Level.WARN


@pytest.mark.parametrize(("days", "expected"), [(13, Level.WARN), (15, Level.OK)])
def test_certificate(days, expected):
    """A certificate with less than two weeks left is a warning."""
    assert level(redis_rules._certificate(facts(expires=time.time() + days * 86_400))) is expected


def test_gaps():
    """The slots that no range covers, in whatever order the ranges come."""
    assert gaps([range(10, 16_000), range(8)]) == [range(8, 10), range(16_000, 16_384)]
    assert gaps([range(16_384)]) == []
