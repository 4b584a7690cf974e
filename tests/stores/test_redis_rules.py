"""The rules that the store goes by and that need no Redis: errors, the breaker, in_flight in flight."""

import pytest

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.limiter.seam import Failure, FailureKind
from ratelimitd.stores.redis.breaker import Breaker
from ratelimitd.stores.redis.errors import Redirect, classify, meaning, redirect
from ratelimitd.stores.redis.in_flight import InFlight

SAID = {
    "WRONGTYPE Operation against a key holding the wrong kind of value": (FailureKind.KEY, False, False),
    "ERR value is not an integer or out of range": (FailureKind.KEY, False, False),
    "OOM command not allowed when used memory > 'maxmemory'.": (FailureKind.OUT_OF_MEMORY, False, False),
    "READONLY You can't write against a read only replica.": (FailureKind.TRANSIENT, True, True),
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": (
        FailureKind.TRANSIENT,
        True,
        True,
    ),
    "ERR Script attempted to access a non local key in a cluster node": (FailureKind.TRANSIENT, False, False),
    "ERR Lua script attempted to access a non local key in a cluster node": (FailureKind.TRANSIENT, False, False),
    "ERR Attempted to access a non local key in a cluster node": (FailureKind.TRANSIENT, False, False),
    "ERR Can not execute a command 'HMGET' while the cluster is down": (FailureKind.TRANSIENT, False, False),
    "CLUSTERDOWN The cluster is down": (FailureKind.TRANSIENT, True, True),
    "CLUSTERDOWN Hash slot not served": (FailureKind.TRANSIENT, True, True),
    "LOADING Redis is loading the dataset in memory": (FailureKind.TRANSIENT, True, False),
    "BUSY Redis is busy running a script.": (FailureKind.TRANSIENT, True, False),
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to": (
        FailureKind.TRANSIENT,
        True,
        False,
    ),
    "NOREPLICAS Not enough good replicas to write.": (FailureKind.TRANSIENT, True, False),
    "TRYAGAIN Multiple keys request during rehashing of slot": (FailureKind.TRANSIENT, False, False),
    "NOPERM User x has no permissions to run the 'evalsha' command": (FailureKind.PERMANENT, False, False),
    "NOAUTH Authentication required.": (FailureKind.PERMANENT, False, False),
    "ERR user_script:1: attempt to index a nil value script: 1f, on @user_script:1.": (
        FailureKind.PERMANENT,
        False,
        False,
    ),
    "CROSSSLOT Keys in request don't hash to the same slot": (FailureKind.PERMANENT, False, False),
}


@pytest.mark.parametrize("message", SAID)
def test_what_an_error_means(message):
    """An error text has a kind, says whether its server fails everybody, and whether another is the right one."""
    kind, node_fault, not_master = SAID[message]
    assert (kind, node_fault, not_master) == meaning(message)
    assert classify(message) == Failure(kind, message)


ASKED = RedisAddress("asked", 1)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("MOVED 3999 127.0.0.1:6381", Redirect(False, 3999, RedisAddress("127.0.0.1", 6381))),
        ("ASK 3999 ::1:6381", Redirect(True, 3999, RedisAddress("::1", 6381))),
        ("MOVED 3999 :6381", Redirect(False, 3999, RedisAddress("asked", 6381))),
        ("ASK 3999 ?:6381", Redirect(True, 3999, RedisAddress("asked", 6381))),
        ("MOVED", None),
        ("MOVED 16384 a:1", None),
        ("MOVED 1 a:0", None),
        ("ASK 1 a:65536", None),
        ("MOVED x y:z", None),
        ("ASKING 1 a:1", None),
        ("ERR MOVED 1 a:1", None),
    ],
)
def test_redirects(message, expected):
    """MOVED and ASK say where to go; an empty host is the one that was asked, and anything else is no redirect."""
    assert expected == redirect(message, ASKED)


def test_a_breaker_opens_after_failures_in_a_row():
    """It opens at the given number in a row, once; a success in between starts the count anew."""
    breaker = Breaker(3)
    assert [breaker.failed(), breaker.failed()] == [False, False]
    assert breaker.passed() is False
    assert [breaker.failed() for _ in range(4)] == [False, False, True, False]
    assert breaker.open


def test_a_breaker_closes_by_one_success():
    """One call that passes closes it, and the count starts anew."""
    breaker = Breaker(2)
    breaker.failed(), breaker.failed()
    assert breaker.passed() is True
    assert (breaker.open, breaker.failed()) == (False, False)


def test_a_domain_leaves_room_for_others():
    """One domain that floods gets half, a second one that floods too gets half of the rest, and the total is kept."""
    in_flight = InFlight(100)

    def flood(domain):
        took = 0
        while in_flight.take(domain, 1):
            took += 1
        return took

    assert flood(b"a") == 50
    assert flood(b"b") == 25
    assert in_flight.take(b"c", 12)
    in_flight.release(b"c", 12)
    in_flight.release(b"a", 50)
    assert flood(b"b") == 25
    assert in_flight.charges == 50


def test_an_ask_larger_than_the_room_passes_alone():
    """A single ask is never refused for its size alone, or it could never be sent."""
    in_flight = InFlight(10)
    assert in_flight.take(b"a", 1_000)
    assert not in_flight.take(b"b", 1)
    in_flight.release(b"a", 1_000)
    assert in_flight.take(b"b", 1)
