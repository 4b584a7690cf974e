"""What is done to four services and their Redis while a limit is watched."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

from bench.fleet import Fleet, fleet
from bench.laws import counter_slot, policy
from testkit.fault_proxy import FaultProxy, Way, fault_proxy
from testkit.machine import Cores
from testkit.redis_cluster import RedisCluster, redis_cluster
from testkit.redis_sentinel import RedisSentinel, redis_sentinel
from testkit.redis_server import RedisServer, redis_server

LAW: Final = "token_bucket"
"""The limit of most scenarios."""


class Pace(NamedTuple):
    """Seconds: before the fault, of it, until all are well again, and after that."""

    before: float = 3.0
    fault: float = 3.0
    settle: float = 2.0
    after: float = 4.0


class Stage:
    """What a fault is done to. Redis, by its topology: one of the three; ``proxy`` is before a lone one."""

    def __init__(
        self,
        services: Fleet,
        pace: Pace,
        lone: tuple[RedisServer, FaultProxy] | None = None,
        sentinel: RedisSentinel | None = None,
        cluster: RedisCluster | None = None,
    ) -> None:
        self.services, self.pace = services, pace
        self._lone, self._sentinel, self._cluster = lone, sentinel, cluster

    @property
    def redis(self) -> RedisServer:
        """The lone server."""
        assert self._lone is not None
        return self._lone[0]

    @property
    def proxy(self) -> FaultProxy:
        """What stands before it."""
        assert self._lone is not None
        return self._lone[1]

    @property
    def sentinel(self) -> RedisSentinel:
        """The set with Sentinels."""
        assert self._sentinel is not None
        return self._sentinel

    @property
    def cluster(self) -> RedisCluster:
        """The cluster."""
        assert self._cluster is not None
        return self._cluster

    def repeat(self, do: Callable[[], int], every: float = 0.1) -> int:
        """Do it again and again while the fault lasts, at such intervals; return the sum."""
        until, total = time.monotonic() + self.pace.fault, 0
        while time.monotonic() < until:
            total += do()
            time.sleep(every)
        return total


class Injected(NamedTuple):
    """What a fault came to.

    Attributes:
        faults: how many there were.
        failovers: how many of them may have lost the counter.
    """

    faults: int
    failovers: int = 0


Fault = Callable[[Stage, str], Injected]
"""Takes the stage and the value of the descriptor; returns when the fault is over."""


class Scenario(NamedTuple):
    """One row; ``law`` is the limit's key, ``topology`` lone, sentinel or cluster."""

    name: str
    fault: Fault
    law: str = LAW
    topology: str = "lone"


def quiet(stage: Stage, _: str) -> Injected:
    """Nothing."""
    time.sleep(stage.pace.fault)
    return Injected(0)


def slow(stage: Stage, _: str) -> Injected:
    """Replies take 5 to 25 ms: some come in time, some do not."""
    return _ways(stage, "delay", replies=Way(delay=0.005, jitter=0.02))


def silent(stage: Stage, _: str) -> Injected:
    """What is asked is done, and no reply comes."""
    return _ways(stage, "hold", replies=Way(hold=True))


def _ways(stage: Stage, counted: str, **ways: Way) -> Injected:
    before = stage.proxy.counts[counted]
    with stage.proxy.fault(**ways):  # type: ignore[arg-type]
        time.sleep(stage.pace.fault)
    return Injected(stage.proxy.counts[counted] - before)


def flapping(stage: Stage, _: str) -> Injected:
    """Replies stay away for 0.6 s of each second, for twice as long as other faults last."""
    turns = round(2 * stage.pace.fault)
    for _turn in range(turns):
        with stage.proxy.fault(replies=Way(hold=True)):
            time.sleep(0.6)
        time.sleep(0.4)
    return Injected(turns)


def resets(stage: Stage, _: str) -> Injected:
    """Connections are reset."""
    return Injected(stage.repeat(stage.proxy.reset))


def client_kill(stage: Stage, _: str) -> Injected:
    """CLIENT KILL."""
    return Injected(stage.repeat(lambda: int(stage.redis.ask("CLIENT", "KILL", "TYPE", "normal"))))


def script_flush(stage: Stage, _: str) -> Injected:
    """SCRIPT FLUSH."""
    return Injected(stage.repeat(lambda: int(stage.redis.ask("SCRIPT", "FLUSH") == "OK")))


def hung(stage: Stage, _: str) -> Injected:
    """SIGSTOP, then SIGCONT."""
    stage.redis.hang()
    time.sleep(stage.pace.fault)
    stage.redis.resume()
    return Injected(1)


def killed(stage: Stage, _: str) -> Injected:
    """kill -9, and an empty server comes back."""
    stage.redis.kill()
    time.sleep(stage.pace.fault)
    stage.redis.start()
    return Injected(1, failovers=1)


def killed_twice(stage: Stage, _: str) -> Injected:
    """The same twice, each time back at once."""
    for _turn in range(2):
        stage.redis.kill()
        stage.redis.start()
        time.sleep(stage.pace.fault / 2)
    return Injected(2, failovers=2)


def service_killed(stage: Stage, _: str) -> Injected:
    """kill -9 of a service."""
    stage.services.kill(0)
    time.sleep(stage.pace.fault)
    stage.services.restart(0)
    return Injected(1)


def reloads(stage: Stage, _: str) -> Injected:
    """Another policy, again and again, in every service."""
    turns = iter(range(10_000))

    def reload() -> int:
        text = policy(f"note{next(turns)}")
        for each in stage.services.members:
            each.reload(text)
        return len(stage.services.members)

    return Injected(stage.repeat(reload, every=0.5))


def sentinel_failover(stage: Stage, _: str) -> Injected:
    """The Sentinels promote the replica of a master that is well."""
    stage.sentinel.failover()
    stage.sentinel.settle()
    return Injected(1, failovers=1)


def sentinel_killed(stage: Stage, _: str) -> Injected:
    """kill -9 of the master; the Sentinels promote its replica."""
    old = stage.sentinel.kill_master()
    stage.sentinel.promoted(old)
    return Injected(1, failovers=1)


def cluster_failover(stage: Stage, value: str) -> Injected:
    """CLUSTER FAILOVER: the replica of the counter's master takes over."""
    stage.cluster.failover(stage.cluster.replicas(counter_slot(LAW, value))[0])
    return Injected(1, failovers=1)


def cluster_killed(stage: Stage, value: str) -> Injected:
    """kill -9 of the counter's master; the cluster promotes its replica."""
    slot = counter_slot(LAW, value)
    old, new = stage.cluster.owner(slot), stage.cluster.replicas(slot)[0]
    old.kill()
    while new.role() != "master":
        time.sleep(0.02)
    return Injected(1, failovers=1)


def migration(stage: Stage, value: str) -> Injected:
    """The counter's slot goes to another master, step by step, and back."""
    slot = counter_slot(LAW, value)
    for _turn in range(2):
        there = next(each for each in stage.cluster.masters() if each is not stage.cluster.owner(slot))
        move = stage.cluster.migration(slot, there)
        move.begin()
        time.sleep(stage.pace.fault / 4)
        move.move_keys()
        time.sleep(stage.pace.fault / 4)
        move.finish()
    return Injected(2)


SCENARIOS: Final = (
    Scenario("quiet", quiet),
    Scenario("replies 5 to 25 ms late", slow),
    Scenario("replies blackholed", silent),
    Scenario("connections reset", resets),
    Scenario("CLIENT KILL", client_kill),
    Scenario("SCRIPT FLUSH", script_flush),
    Scenario("Redis hung (SIGSTOP)", hung),
    Scenario("Redis killed, back empty", killed),
    Scenario("Redis killed twice", killed_twice),
    Scenario("a service killed", service_killed),
    Scenario("policy reloads", reloads),
    Scenario("replies blackholed, again and again", flapping, "local"),
    *(
        Scenario(name, fault, law)
        for law in ("sliding_window", "fixed_window")
        for name, fault in (("quiet", quiet), ("replies blackholed", silent), ("Redis killed, back empty", killed))
    ),
    Scenario("Sentinel failover", sentinel_failover, topology="sentinel"),
    Scenario("Sentinel: master killed", sentinel_killed, topology="sentinel"),
    Scenario("cluster: replica takes over", cluster_failover, topology="cluster"),
    Scenario("cluster: slot moves and back", migration, topology="cluster"),
    Scenario("cluster: master killed", cluster_killed, topology="cluster"),
)
"""Last of a topology is what leaves a server dead."""


@contextmanager
def stage(topology: str, where: Cores, pace: Pace, env: dict[str, str] | None = None) -> Iterator[Stage]:
    """Run four services on a Redis of this topology: lone (behind a proxy), sentinel or cluster."""
    with ExitStack() as stack:

        def services(**more: str) -> Fleet:
            return stack.enter_context(fleet(policy(), {**more, **(env or {})}, where))

        if topology == "lone":
            server = stack.enter_context(redis_server(tcp=True))
            proxy = stack.enter_context(fault_proxy(server.address))
            yield Stage(services(REDIS_URL=proxy.address), pace, lone=(server, proxy))
        elif topology == "sentinel":
            guarded = stack.enter_context(redis_sentinel())
            yield Stage(services(REDIS_TYPE=topology, REDIS_URL=guarded.url), pace, sentinel=guarded)
        else:
            cluster = stack.enter_context(redis_cluster(replicas=1))
            yield Stage(services(REDIS_TYPE=topology, REDIS_URL=cluster.url), pace, cluster=cluster)
