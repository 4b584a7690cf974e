"""A cluster's map of slots, without servers."""

from collections.abc import Callable
from itertools import count

from ratelimitd.config.redis_address import Deployment, RedisAddress
from ratelimitd.stores.redis.cluster import REFRESH_EVERY, Cluster
from ratelimitd.stores.redis.options import ConnectOptions, RedisOptions
from ratelimitd.stores.redis.script import composed_script
from ratelimitd.stores.redis.slots import SLOTS

A, B = RedisAddress("a", 1), RedisAddress("b", 2)
ALL = [[0, SLOTS - 1, [b"a", 1], [b"b", 2]]]
"""B is a replica, so that it is known."""


class Unwatched:
    """A watcher that ignores all events."""

    reconnects = breaker_opens = 0
    probe = opened = connect_failed = edge = staticmethod(lambda *_: None)


async def test_a_server_that_is_to_get_its_first_slot_stays(monkeypatch):
    """A server that calls were sent to stays known for a while, though it has no slot yet; then it leaves."""
    redis = ConnectOptions(Deployment((A,), "cluster"))
    cluster = Cluster(redis, composed_script(), RedisOptions(redis), Unwatched())
    now: Callable[[], float] = count(0.0, REFRESH_EVERY / 2).__next__
    await cluster._apply_slots(ALL, A)
    (node,) = cluster.nodes
    monkeypatch.setattr(cluster._loop, "time", now)
    assert cluster.redirect_for(node, "ASK 5 b:2") is not None
    await cluster._apply_slots(ALL, A)
    assert [node.name for node in cluster.nodes] == ["a:1", "b:2"]
    await cluster._apply_slots(ALL, A)
    assert [node.name for node in cluster.nodes] == ["a:1"]
