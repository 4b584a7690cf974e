"""A real Redis cluster for tests: masters, optional replicas, and slot migrations in steps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis
from redis.crc import key_slot

from ratelimitd.stores.redis import RedisStore
from testkit.redis_server import AT_ONCE, BUS, RedisServer, node_port, scratch_folder, start_all, until
from testkit.tls_files import TlsFiles

SLOTS = 16_384
CLUSTER = {"REDIS_TYPE": "cluster"}
"""Environment of the service, in addition to REDIS_URL."""

MOVE_MILLISECONDS = 5000
FIXED = [
    *("--cluster-enabled", "yes"),
    *("--cluster-announce-ip", "127.0.0.1"),
    # A replica may be promoted regardless of its replication lag, and does not migrate to another master.
    *("--cluster-replica-validity-factor", "0"),
    *("--cluster-allow-replica-migration", "no"),
    *AT_ONCE,
]


class Node(RedisServer):
    """One node.

    Attributes:
        announced: the address that the cluster reports to clients.
        id: its node ID.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str],
        announced: int | None,
        tls: TlsFiles | None,
        password: str | None,
    ) -> None:
        port = node_port()
        own = ["--cluster-announce-bus-port", str(port + BUS), *FIXED]
        if announced is not None:
            own += ["--cluster-announce-port" if tls is None else "--cluster-announce-tls-port", str(announced)]
        if tls is not None:
            own += ["--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no"]
        if password is not None:
            own += ["--requirepass", password, "--masterauth", password]
        super().__init__(folder, [*own, *options], tcp=True, tls=tls, password=password, port=port)
        self.announced = self.address if announced is None else f"127.0.0.1:{announced}"
        self.id = ""

    @property
    def announced_port(self) -> int:
        """Port of ``announced``, which replicas also use."""
        return int(self.announced.rpartition(":")[2])

    def owners(self) -> list[tuple[int, int, tuple[str, ...]]]:
        """Return its CLUSTER SLOTS: first slot, last slot, and node IDs, the master's first, then the replicas'."""
        seen = self.ask("CLUSTER", "SLOTS")
        return sorted(
            (first, last, (nodes[0][2], *sorted(each[2] for each in nodes[1:]))) for first, last, *nodes in seen
        )

    def taught(self, *command: str) -> bool:
        """Send this CLUSTER command; return True if it succeeds."""
        return bool(self.ask("CLUSTER", *command) == "OK")

    def facts(self) -> dict[str, str]:
        """Return the fields of CLUSTER INFO."""
        return dict(line.split(":", 1) for line in self.ask("CLUSTER", "INFO").split())


class RedisCluster:
    """Nodes, masters first. Methods block until their effect is visible; with an event loop, call them in a thread."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)

    @property
    def url(self) -> str:
        """Value for REDIS_URL."""
        return ",".join(each.announced for each in self.nodes)

    @staticmethod
    def slot(key: str | bytes) -> int:
        """Return the slot of a key."""
        return key_slot(key if isinstance(key, bytes) else key.encode())

    def owner(self, slot: int) -> Node:
        """Return the master of this slot."""
        return self._group(slot)[0]

    def replicas(self, slot: int) -> list[Node]:
        """Return the known replicas of the master of this slot."""
        return self._group(slot)[1:]

    def masters(self) -> list[Node]:
        """Return the masters that have slots."""
        return [self._node(id_) for id_ in dict.fromkeys(ids[0] for _, _, ids in self._view())]

    def flush(self) -> None:
        """Delete all keys."""
        for each in self.masters():
            each.ask("FLUSHALL")

    def migration(self, slot: int, to: Node) -> "Migration":
        """Return a migration of this slot that has not begun."""
        return Migration(self, slot, self.owner(slot), to)

    def migrate_slot(self, slot: int, to: Node) -> None:
        """Move this slot and its keys."""
        move = self.migration(slot, to)
        move.begin()
        move.move_keys()
        move.finish()

    def failover(self, replica: Node, *how: str) -> None:
        """Promote a replica; ``how`` is ``"FORCE"`` or ``"TAKEOVER"`` if its master is unavailable."""
        replica.ask("CLUSTER", "FAILOVER", *how)
        self.promoted(replica)

    def promoted(self, replica: Node) -> None:
        """Wait until all running nodes know this one as a master with slots."""
        until(
            lambda: all(replica.id in {ids[0] for _, _, ids in each.owners()} for each in self._awake()),
            f"{replica.address} promoted",
        )
        self.settle()

    def settle(self) -> None:
        """Wait until all running nodes agree that every slot has a master, and replicas are synchronized."""
        until(self._settled, "a settled cluster")

    def _settled(self) -> bool:
        awake = self._awake()
        view = awake[0].owners()
        covered = sum(last - first + 1 for first, last, _ in view) == SLOTS
        return covered and all(each.owners() == view and self._well(each, view) for each in awake)

    def _well(self, node: Node, view: list[tuple[int, int, tuple[str, ...]]]) -> bool:
        facts = node.facts()
        if facts["cluster_state"] != "ok" or facts["cluster_known_nodes"] != str(len(self.nodes)):
            return False
        masters = {ids[0] for _, _, ids in view}
        return node.id in masters or any(
            node.id in ids[1:] and node.in_sync(self._node(ids[0]).announced_port) for _, _, ids in view
        )

    def _awake(self) -> list[Node]:
        return [each for each in self.nodes if each.awake]

    def _node(self, id_: str) -> Node:
        return next(each for each in self.nodes if each.id == id_)

    def _view(self) -> list[tuple[int, int, tuple[str, ...]]]:
        for each in self._awake():
            try:
                return each.owners()
            except redis.RedisError:
                continue  # the node hangs or is starting
        raise AssertionError("no node answers")

    def _group(self, slot: int) -> list[Node]:
        ids = next(ids for first, last, ids in self._view() if first <= slot <= last)
        return [self._node(id_) for id_ in ids]


@dataclass(frozen=True)
class Migration:
    """A slot migration. Between ``begin`` and ``finish`` the source answers ASK for keys that it does not have."""

    cluster: RedisCluster
    slot: int
    source: Node
    to: Node

    def begin(self) -> None:
        """Mark the slot as importing at the target and migrating at the source."""
        self.to.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.id)
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.to.id)

    def move_keys(self, most: int = SLOTS) -> int:
        """Move at most ``most`` keys; return the number of moved keys."""
        keys = self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, most)
        if keys:
            secret = ["AUTH", self.to.password] if self.to.password is not None else []
            self.source.ask("MIGRATE", "127.0.0.1", self.to.port, "", 0, MOVE_MILLISECONDS, *secret, "KEYS", *keys)
        return len(keys)

    def finish(self) -> None:
        """Assign the slot to the target, and wait until all nodes know."""
        others = [each for each in self.cluster.masters() if each not in (self.source, self.to)]
        for each in (self.to, self.source, *others):
            each.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self.to.id)
        self.cluster.settle()

    def cancel(self) -> None:
        """Remove the marks; keys that were moved stay at the target."""
        for each in (self.to, self.source):
            each.ask("CLUSTER", "SETSLOT", self.slot, "STABLE")


def _form(cluster: RedisCluster, masters: int) -> None:
    """Assign the slots to the masters, join the nodes, and distribute the replicas over the masters."""
    leaders, followers = cluster.nodes[:masters], cluster.nodes[masters:]
    for turn, node in enumerate(cluster.nodes):
        node.id = node.ask("CLUSTER", "MYID")
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", turn + 1)
    for turn, node in enumerate(leaders):
        node.ask("CLUSTER", "ADDSLOTS", *range(turn * SLOTS // masters, (turn + 1) * SLOTS // masters))
    for turn, node in enumerate(cluster.nodes):
        for other in cluster.nodes[turn + 1 :]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", other.port, other.port + BUS)
    for turn, node in enumerate(followers):
        until(partial(node.taught, "REPLICATE", leaders[turn % masters].id), "a replica that knows its master")


@contextmanager
def redis_cluster(
    *options: str,
    masters: int = 3,
    replicas: int = 0,
    tls: TlsFiles | None = None,
    password: str | None = None,
    node_timeout: int = 1000,
    announce: Sequence[int] = (),
) -> Iterator[RedisCluster]:
    """Run a cluster with ``replicas`` replicas a master; takes 2 s, which a new master waits before it accepts writes.

    ``options`` are the options of every node, ``node_timeout`` is in ms. ``announce`` has one port per node, in the
    order of ``nodes``, that the cluster reports to clients instead of the node's own: the ports of proxies.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        nodes = []
        for turn in range(masters * (1 + replicas)):
            place = folder / str(turn)
            place.mkdir()
            told = announce[turn] if announce else None
            patience = ["--cluster-node-timeout", str(node_timeout)]
            nodes.append(Node(place, [*patience, *options], told, tls, password))
            stack.callback(nodes[-1].kill)
        start_all(nodes)
        cluster = RedisCluster(nodes)
        _form(cluster, masters)
        cluster.settle()
        yield cluster


async def connected(make: Callable[..., RedisStore], cluster: RedisCluster, **others: object) -> RedisStore:
    """Return a store that is connected to every master."""
    store = make(cluster.url, env=CLUSTER, **others)
    assert await store.connect()
    return store
