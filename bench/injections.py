"""Faults of four services and their Redis, for the check that a limit holds."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

from bench.fleet import Fleet, fleet
from bench.laws import counter_slot, policy
from bench.spending import BUDGET
from testkit.fault_proxy import FaultProxy, Way, fault_proxy
from testkit.machine import Cores
from testkit.redis_cluster import RedisCluster, redis_cluster
from testkit.redis_sentinel import RedisSentinel, redis_sentinel
from testkit.redis_server import RedisServer, redis_server

LAW: Final = "token_bucket"
"""The limit of most scenarios."""


class Pace(NamedTuple):
    """Seconds before the fault, of the fault, for the recovery, and after that."""

    before: float = 3.0
    fault: float = 3.0
    settle: float = 2.0
    after: float = 4.0


class Stage:
    """The services and their Redis: a single server behind a proxy, a Sentinel set, or a cluster."""

    def __init__(
        self,
        services: Fleet,
        pace: Pace,
        load_core: int,
        single: tuple[RedisServer, FaultProxy] | None = None,
        sentinel: RedisSentinel | None = None,
        cluster: RedisCluster | None = None,
    ) -> None:
        self.services, self.pace, self.load_core = services, pace, load_core
        self._single, self._sentinel, self._cluster = single, sentinel, cluster

    @property
    def redis(self) -> RedisServer:
        """The single server."""
        assert self._single is not None
        return self._single[0]

    @property
    def proxy(self) -> FaultProxy:
        """The proxy in front of the single server."""
        assert self._single is not None
        return self._single[1]

    @property
    def sentinel(self) -> RedisSentinel:
        """The servers and their Sentinels."""
        assert self._sentinel is not None
        return self._sentinel

    @property
    def cluster(self) -> RedisCluster:
        """The cluster."""
        assert self._cluster is not None
        return self._cluster

    def repeat(self, do: Callable[[], int], every: float = 0.1) -> int:
        """Call ``do`` every ``every`` seconds while the fault lasts; return the sum of its results."""
        until, total = time.monotonic() + self.pace.fault, 0
        while time.monotonic() < until:
            total += do()
            time.sleep(every)
        return total


class Injected(NamedTuple):
    """Number of injected faults, and of the failovers among them that may have lost the counter."""

    faults: int
    failovers: int = 0


Fault = Callable[[Stage, str], Injected]
"""Takes the stage and the value of the descriptor; returns at the end of the fault."""


class Scenario(NamedTuple):
    """One row of the table; ``law`` is the limit's key, ``topology`` is single, sentinel or cluster."""

    name: str
    fault: Fault
    law: str = LAW
    topology: str = "single"


def quiet(stage: Stage, _: str) -> Injected:
    """Inject no fault."""
    time.sleep(stage.pace.fault)
    return Injected(0)


def slow(stage: Stage, _: str) -> Injected:
    """Delay replies by 5 to 25 ms: some arrive within the budget, some do not."""
    return _ways(stage, "delay", replies=Way(delay=0.005, jitter=0.02))


def silent(stage: Stage, _: str) -> Injected:
    """Execute commands, but hold back their replies."""
    return _ways(stage, "hold", replies=Way(hold=True))


def _ways(stage: Stage, counted: str, **ways: Way) -> Injected:
    before = stage.proxy.counts[counted]
    with stage.proxy.fault(**ways):  # type: ignore[arg-type]
        time.sleep(stage.pace.fault)
    return Injected(stage.proxy.counts[counted] - before)


def flapping(stage: Stage, _: str) -> Injected:
    """Hold back replies for 0.6 s of each second, for twice the duration of other faults."""
    turns = round(2 * stage.pace.fault)
    for _turn in range(turns):
        with stage.proxy.fault(replies=Way(hold=True)):
            time.sleep(0.6)
        time.sleep(0.4)
    return Injected(turns)


def resets(stage: Stage, _: str) -> Injected:
    """Reset connections repeatedly."""
    return Injected(stage.repeat(stage.proxy.reset))


def client_kill(stage: Stage, _: str) -> Injected:
    """Close connections with CLIENT KILL repeatedly."""
    return Injected(stage.repeat(lambda: int(stage.redis.ask("CLIENT", "KILL", "TYPE", "normal"))))


def script_flush(stage: Stage, _: str) -> Injected:
    """Run SCRIPT FLUSH repeatedly."""
    return Injected(stage.repeat(lambda: int(stage.redis.ask("SCRIPT", "FLUSH") == "OK")))


def hung(stage: Stage, _: str) -> Injected:
    """Suspend the server with SIGSTOP, then resume it with SIGCONT."""
    stage.redis.hang()
    time.sleep(stage.pace.fault)
    stage.redis.resume()
    return Injected(1)


def killed(stage: Stage, _: str) -> Injected:
    """Kill the server with SIGKILL, and restart it without data."""
    stage.redis.kill()
    time.sleep(stage.pace.fault)
    stage.redis.start()
    return Injected(1, failovers=1)


def killed_twice(stage: Stage, _: str) -> Injected:
    """Kill the server twice, and restart it at once each time."""
    for _turn in range(2):
        stage.redis.kill()
        stage.redis.start()
        time.sleep(stage.pace.fault / 2)
    return Injected(2, failovers=2)


def service_killed(stage: Stage, _: str) -> Injected:
    """Kill one service with SIGKILL, and restart it."""
    stage.services.kill(0)
    time.sleep(stage.pace.fault)
    stage.services.restart(0)
    return Injected(1)


def reloads(stage: Stage, _: str) -> Injected:
    """Reload a changed policy in every service repeatedly."""
    turns = iter(range(10_000))

    def reload() -> int:
        text = policy(f"note{next(turns)}")
        for each in stage.services.members:
            each.reload(text)
        return len(stage.services.members)

    return Injected(stage.repeat(reload, every=0.5))


def sentinel_failover(stage: Stage, _: str) -> Injected:
    """Make the Sentinels promote the replica of a healthy master."""
    stage.sentinel.failover()
    stage.sentinel.settle()
    return Injected(1, failovers=1)


def sentinel_killed(stage: Stage, _: str) -> Injected:
    """Kill the master with SIGKILL; the Sentinels promote its replica."""
    old = stage.sentinel.kill_master()
    stage.sentinel.promoted(old)
    return Injected(1, failovers=1)


def cluster_failover(stage: Stage, value: str) -> Injected:
    """Promote the replica of the counter's master with CLUSTER FAILOVER."""
    stage.cluster.failover(stage.cluster.replicas(counter_slot(LAW, value))[0])
    return Injected(1, failovers=1)


def cluster_killed(stage: Stage, value: str) -> Injected:
    """Kill the counter's master with SIGKILL; the cluster promotes its replica."""
    slot = counter_slot(LAW, value)
    old, new = stage.cluster.owner(slot), stage.cluster.replicas(slot)[0]
    old.kill()
    while new.role() != "master":
        time.sleep(0.02)
    return Injected(1, failovers=1)


def migration(stage: Stage, value: str) -> Injected:
    """Migrate the slots of the counter and of the budget to another master, step by step, and back."""
    for _turn in range(2):
        moves = []
        for slot in {counter_slot(key, value) for key in (LAW, BUDGET)}:
            there = next(each for each in stage.cluster.masters() if each is not stage.cluster.owner(slot))
            moves.append(stage.cluster.migration(slot, there))
        for move in moves:
            move.begin()
        time.sleep(stage.pace.fault / 4)
        for move in moves:
            move.move_keys()
        time.sleep(stage.pace.fault / 4)
        for move in moves:
            move.finish()
    return Injected(2)


SCENARIOS: Final = (
    Scenario("no fault", quiet),
    Scenario("replies delayed 5 to 25 ms", slow),
    Scenario("replies blackholed", silent),
    Scenario("connections reset", resets),
    Scenario("CLIENT KILL", client_kill),
    Scenario("SCRIPT FLUSH", script_flush),
    Scenario("Redis hung (SIGSTOP)", hung),
    Scenario("Redis killed, restarted empty", killed),
    Scenario("Redis killed twice", killed_twice),
    Scenario("one service killed", service_killed),
    Scenario("policy reloads", reloads),
    Scenario("replies blackholed repeatedly", flapping, "local"),
    *(
        Scenario(name, fault, law)
        for law in ("sliding_window", "fixed_window")
        for name, fault in (
            ("no fault", quiet),
            ("replies blackholed", silent),
            ("Redis killed, restarted empty", killed),
        )
    ),
    Scenario("Sentinel: failover", sentinel_failover, topology="sentinel"),
    Scenario("Sentinel: master killed", sentinel_killed, topology="sentinel"),
    Scenario("cluster: failover", cluster_failover, topology="cluster"),
    Scenario("cluster: slot moved and moved back", migration, topology="cluster"),
    Scenario("cluster: master killed", cluster_killed, topology="cluster"),
)
"""A scenario that leaves a server dead is the last of its topology."""


@contextmanager
def stage(topology: str, where: Cores, pace: Pace, env: dict[str, str] | None = None) -> Iterator[Stage]:
    """Run four services with a Redis of this topology: single (behind a proxy), sentinel or cluster."""
    with ExitStack() as stack:

        def services(**more: str) -> Fleet:
            return stack.enter_context(fleet(policy(), {**more, **(env or {})}, where))

        if topology == "single":
            server = stack.enter_context(redis_server(tcp=True))
            proxy = stack.enter_context(fault_proxy(server.address))
            yield Stage(services(REDIS_URL=proxy.address), pace, where.load, single=(server, proxy))
        elif topology == "sentinel":
            guarded = stack.enter_context(redis_sentinel())
            yield Stage(services(REDIS_TYPE=topology, REDIS_URL=guarded.url), pace, where.load, sentinel=guarded)
        else:
            cluster = stack.enter_context(redis_cluster(replicas=1))
            yield Stage(services(REDIS_TYPE=topology, REDIS_URL=cluster.url), pace, where.load, cluster=cluster)
