"""A Redis of each topology, with one fault."""

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
"""Number of counters: enough that each node of a cluster has some."""

KEY: Final = "user"

PATIENT: Final = 15_000
"""cluster-node-timeout in ms, Redis' default: the other nodes do not fail over a node that hangs for some seconds."""

LATE: Final = 0.016
"""Seconds: 1 ms more than the budget of a call."""


class Rig(NamedTuple):
    """A Redis and a fault.

    Attributes:
        env: environment of the service, with the address of Redis.
        inject: begins the fault.
        repair: ends the fault; returns when Redis can serve.
        spared: numbers of the users whose counters are on unaffected nodes.
    """

    env: dict[str, str]
    inject: Callable[[], object]
    repair: Callable[[], object]
    spared: frozenset[int] = frozenset()


MakeRig = Callable[[Cores, str], AbstractContextManager[Rig]]
"""Takes the cores and the policy, which determines the slots of the counters."""


class Fault(NamedTuple):
    """A fault by name; ``lasts`` is its share of the scale's fault duration."""

    name: str
    rig: MakeRig
    lasts: float = 1.0


def _single(inject: Callable[[RedisServer], object], repair: Callable[[RedisServer], object]) -> MakeRig:
    """Apply the fault to a single server."""

    @contextmanager
    def rig(where: Cores, _policy: str) -> Iterator[Rig]:
        with redis_server(tcp=True) as redis:
            pin(redis.process.pid, where.redis)

            def repaired() -> None:
                repair(redis)
                pin(redis.process.pid, where.redis)

            yield Rig({"REDIS_URL": redis.address}, lambda: inject(redis), repaired)

    return rig


def _through(inject: Callable[[FaultProxy], object]) -> MakeRig:
    """Apply the fault to a proxy in front of a single server."""

    @contextmanager
    def rig(where: Cores, _policy: str) -> Iterator[Rig]:
        with redis_server(tcp=True) as redis, fault_proxy(redis.address) as proxy:
            pin(redis.process.pid, where.redis)
            yield Rig({"REDIS_URL": proxy.address}, lambda: inject(proxy), proxy.heal)

    return rig


def _unanswered(proxy: FaultProxy) -> None:
    proxy.set(connects="unanswered")
    proxy.reset()


@contextmanager
def _sentinel(where: Cores, _policy: str) -> Iterator[Rig]:
    """Kill the master; Redis has recovered when the replica is the master."""
    with redis_sentinel() as servers:
        for each in (*servers.servers, *servers.sentinels):
            pin(each.process.pid, where.redis)
        old: list[RedisServer] = []
        env = {"REDIS_TYPE": "sentinel", "REDIS_URL": servers.url}

        def promoted() -> None:
            new = next(each for each in servers.servers if each is not old[0])
            with new.client() as client:  # one connection for all polls, so that polling is not a load
                until(lambda: client.execute_command("ROLE")[0] == b"master", "a new master")

        yield Rig(env, lambda: old.append(servers.kill_master()), promoted)


@contextmanager
def _cluster(where: Cores, policy: str) -> Iterator[Rig]:
    """Stop one of three masters; with cluster-require-full-coverage no, the others keep serving."""
    with redis_cluster("--cluster-require-full-coverage", "no", node_timeout=PATIENT) as cluster:
        for each in cluster.nodes:
            pin(each.process.pid, where.redis)
        node = cluster.nodes[0]
        slots = [counter_slot(KEY, user(number), policy) for number in range(USERS)]
        spared = frozenset(number for number, slot in enumerate(slots) if cluster.owner(slot) is not node)
        yield Rig({"REDIS_TYPE": "cluster", "REDIS_URL": cluster.url}, node.hang, node.resume, spared)


FAULTS: Final = (
    Fault("none", _single(lambda _: None, lambda _: None)),
    Fault("hung (SIGSTOP)", _single(RedisServer.hang, RedisServer.resume)),
    Fault("killed", _single(RedisServer.kill, RedisServer.start)),
    Fault("killed, restarted at once", _single(RedisServer.kill, RedisServer.start), lasts=0.0),
    Fault("replies blackholed", _through(lambda proxy: proxy.set(replies=Way(hold=True)))),
    Fault("reset, SYNs dropped", _through(_unanswered)),
    Fault("replies delayed 1 s", _through(lambda proxy: proxy.set(replies=Way(delay=1.0)))),
    Fault("replies delayed 16 ms", _through(lambda proxy: proxy.set(replies=Way(delay=LATE)))),
    Fault("cluster, 1 node of 3 hung", _cluster),
    Fault("Sentinel, master killed", _sentinel, lasts=0.0),
)
