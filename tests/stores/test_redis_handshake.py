"""What a new connection is asked, against real servers that fall short in each way."""

import re
from pathlib import Path

import pytest

from ratelimitd import algorithms
from ratelimitd.config.redis_address import Deployment
from ratelimitd.stores.redis.handshake import unsuitable
from testkit.redis_sentinel import redis_sentinel
from testkit.redis_server import node_port, redis_server
from tests.contract.cases import allowed, charge
from tests.stores.test_redis_store import one

LUA = Path(algorithms.__file__).parent / "lua"

NEEDED = (
    "+evalsha +script|load +time +set +incrby +get +pttl +pexpire +del +zadd +zcard +zcount +zrange +zremrangebyrank"
)


@pytest.fixture(scope="module")
def server():
    """A redis-server whose users this module makes."""
    with redis_server() as running:
        yield running


def user(server, rules):
    """Make the user ``u`` with these rules, and return its REDIS_AUTH."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "u", "reset", "on", ">pw", *rules.split())
    return "u:pw"


def test_the_script_needs_no_other_rights():
    """Each command that the script calls is one of the documented rights, or a user who has them could not settle."""
    text = b"".join(path.read_bytes() for path in LUA.glob("*.lua")).decode()
    called = {name.lower() for name in re.findall(r"redis\.p?call\('(\w+)'", text)}
    assert len(called) > 10
    assert called - {right.lstrip("+") for right in NEEDED.split()} == set()


@pytest.mark.redis
async def test_the_least_rights(make, server):
    """A user with the documented rights, on keys with the prefix alone, is enough."""
    auth = user(server, f"~app:* -@all {NEEDED}")
    store = make(server.address, auth, prefix=b"app:")
    assert await store.connect()
    assert allowed(await charge(store, [one(b"app:k_")])) == [True]


@pytest.mark.redis
@pytest.mark.parametrize("right", NEEDED.split())
async def test_a_missing_right_is_named(make, edges, server, right):
    """A user who lacks one right cannot connect, and the reason names the rule to give."""
    auth = user(server, f"~* -@all {NEEDED.replace(right, '')}")
    assert not await make(server.address, auth).connect()
    assert f"ACL SETUSER … {right} gives" in edges.seen[0][1] or f"{right} " in edges.seen[0][1]
    assert "pw" not in edges.seen[0][1].split()


@pytest.mark.redis
async def test_missing_keys_are_named(make, edges, server):
    """For a user without access to the keys, the reason names the prefix."""
    assert not await make(server.address, user(server, f"~other:* -@all {NEEDED}")).connect()
    assert "~<CACHE_KEY_PREFIX>*" in edges.seen[0][1]


@pytest.mark.redis
async def test_a_replica_is_refused(make, edges, server):
    """A replica takes no writes, so it is no place to connect to, and the reason says what to name instead."""
    with redis_server("--replicaof", "127.0.0.1", "1") as replica:
        assert not await make(replica.address).connect()
    assert "is a read-only replica" in edges.seen[0][1]


@pytest.mark.redis
async def test_a_cluster_is_no_single_server(make, edges):
    """A node of a cluster under REDIS_TYPE=single is refused with the setting to change, and the other way round."""
    with redis_server("--cluster-enabled", "yes", tcp=True, port=node_port()) as node:
        assert not await make(node.address).connect()
    assert "REDIS_TYPE=cluster" in edges.seen[0][1]


@pytest.mark.redis
async def test_a_sentinel_is_no_server(make, edges):
    """A Sentinel named as if it were the server is refused with how to name it instead."""
    with redis_sentinel() as running:
        assert not await make(running.sentinels[0].address).connect()
    assert "server is a Sentinel; set REDIS_TYPE=sentinel" in edges.seen[0][1]


@pytest.mark.redis
async def test_a_single_server_is_no_cluster(make, edges):
    """REDIS_TYPE=cluster on a single server is reported."""
    with redis_server(tcp=True) as lone:
        store = make(lone.address, env={"REDIS_TYPE": "cluster"})
        assert not await store.connect()
        assert "cluster support disabled" in edges.seen[0][1]
        await store.close()


def hello(**other):
    """A reply to HELLO."""
    told = {"server": "redis", "version": "7.0.15", "mode": "standalone", "role": "master"} | other
    return [part.encode() for pair in told.items() for part in pair]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (hello(), ""),
        (hello(server="valkey", version="8.1.0"), ""),
        (hello(version="5.0.14"), "6.0 or newer"),
        (hello(role="replica"), "replica"),
        (hello(mode="sentinel"), "REDIS_TYPE=sentinel"),
        ([], "reply to HELLO"),
        (b"OK", "reply to HELLO"),
        (hello(version="unstable"), "reply to HELLO"),
    ],
)
def test_hello(reply, why):
    """A server's own word decides whether it is fit: new enough, a master, and what REDIS_TYPE says."""
    said = unsuitable(Deployment(()), reply)
    assert why in said
    assert bool(why) == bool(said)
