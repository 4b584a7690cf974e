"""A Redis of each topology, and one thing that is done to it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, NamedTuple

from bench.laws import counter_slot
from bench.policy import user
from testkit.fault_proxy import FaultProxy, Way, fault_proxy
from testkit.machine import Cores, pin
from testkit.redis_cluster import redis_cluster
from testkit.redis_sentinel import redis_sentinel
from testkit.redis_server import RedisServer, redis_server, until

USERS: Final = 30
"""Counters, so that each node of a cluster has some."""

KEY: Final = "user"

PATIENT: Final = 15_000
"""ms of cluster-node-timeout, Redis' default: a node that hangs for seconds is still a node to the others."""

LATE: Final = 0.016
"""Seconds: a millisecond more than the budget of a call."""


class Rig(NamedTuple):
    """A Redis, and what is done to it.

    Attributes:
        env: where the service finds it.
        harm: begins the fault.
        mend: ends it; returns when Redis can serve.
        spared: users whose counters are on nodes that nothing is done to.
    """

    env: dict[str, str]
    harm: Callable[[], object]
    mend: Callable[[], object]
    spared: frozenset[int] = frozenset()


MakeRig = Callable[[Cores, str], AbstractContextManager[Rig]]
"""Takes the cores and the policy, which says where counters are."""


class Fault(NamedTuple):
    """One thing that is done to a Redis; ``lasts``: for how much of the time that faults last."""

    name: str
    rig: MakeRig
    lasts: float = 1.0


def _lone(harm: Callable[[RedisServer], object], mend: Callable[[RedisServer], object]) -> MakeRig:
    """Do it to a lone server."""

    @contextmanager
    def rig(where: Cores, _policy: str) -> Iterator[Rig]:
        with redis_server(tcp=True) as redis:
            pin(redis.process.pid, where.redis)

            def mended() -> None:
                mend(redis)
                pin(redis.process.pid, where.redis)

            yield Rig({"REDIS_URL": redis.address}, lambda: harm(redis), mended)

    return rig


def _through(harm: Callable[[FaultProxy], object]) -> MakeRig:
    """Do it to the way to a lone server."""

    @contextmanager
    def rig(where: Cores, _policy: str) -> Iterator[Rig]:
        with redis_server(tcp=True) as redis, fault_proxy(redis.address) as proxy:
            pin(redis.process.pid, where.redis)
            yield Rig({"REDIS_URL": proxy.address}, lambda: harm(proxy), proxy.heal)

    return rig


def _unanswered(proxy: FaultProxy) -> None:
    proxy.set(connects="unanswered")
    proxy.reset()


@contextmanager
def _sentinel(where: Cores, _policy: str) -> Iterator[Rig]:
    """Kill the master; Redis is back when its replica is one."""
    with redis_sentinel() as servers:
        for each in (*servers.servers, *servers.sentinels):
            pin(each.process.pid, where.redis)
        old: list[RedisServer] = []
        env = {"REDIS_TYPE": "sentinel", "REDIS_URL": servers.url}

        def promoted() -> None:
            new = next(each for each in servers.servers if each is not old[0])
            with new.client() as client:  # one connection: to watch must not be a load
                until(lambda: client.execute_command("ROLE")[0] == b"master", "a new master")

        yield Rig(env, lambda: old.append(servers.kill_master()), promoted)


@contextmanager
def _cluster(where: Cores, policy: str) -> Iterator[Rig]:
    """Stop one of three masters; the others go on, as cluster-require-full-coverage no has it."""
    with redis_cluster("--cluster-require-full-coverage", "no", node_timeout=PATIENT) as cluster:
        for each in cluster.nodes:
            pin(each.process.pid, where.redis)
        node = cluster.nodes[0]
        slots = [counter_slot(KEY, user(number), policy) for number in range(USERS)]
        spared = frozenset(number for number, slot in enumerate(slots) if cluster.owner(slot) is not node)
        yield Rig({"REDIS_TYPE": "cluster", "REDIS_URL": cluster.url}, node.hang, node.resume, spared)


FAULTS: Final = (
    Fault("none", _lone(lambda _: None, lambda _: None)),
    Fault("hung (SIGSTOP)", _lone(RedisServer.hang, RedisServer.resume)),
    Fault("killed", _lone(RedisServer.kill, RedisServer.start)),
    Fault("killed, restarted at once", _lone(RedisServer.kill, RedisServer.start), lasts=0.0),
    Fault("replies blackholed", _through(lambda proxy: proxy.set(replies=Way(hold=True)))),
    Fault("reset, connects blackholed", _through(_unanswered)),
    Fault("replies 1 s late", _through(lambda proxy: proxy.set(replies=Way(delay=1.0)))),
    Fault("replies 16 ms late", _through(lambda proxy: proxy.set(replies=Way(delay=LATE)))),
    Fault("cluster, 1 node of 3 hung", _cluster),
    Fault("Sentinel, master killed", _sentinel, lasts=0.0),
)
