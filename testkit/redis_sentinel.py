"""A real Sentinel set for tests: a master, a replica and three sentinels that can agree on a new master."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.redis_server import AT_ONCE, SERVING, RedisServer, scratch_folder, start_all, until
from testkit.tls_files import TlsFiles

NAME = "mymaster"
SENTINELS = 3
QUORUM = 2
READY = b"Sentinel ID is"
PACE = {
    # Milliseconds between what a sentinel does of itself: its own are 1 to 10 s, made for wide networks.
    # It only promotes a replica that it heard of in the last five pings or three INFOs, and during a failover it asks
    # once a second; but pings are to be well below down-after, or a new master is soon taken for dead.
    "ping-period": 300,
    "info-period": 500,
    "ask-period": 100,
    # Four of these after it looks like a master a replica is demoted; a promotion may go unseen for one second.
    "publish-period": 600,
    # A busy test machine is not a clock that jumped.
    "tilt-period": 200,
}


Settings = dict[str, str | int]
"""What a sentinel is told of its master."""


class RedisSentinel:
    """Servers and sentinels. Its methods wait for what they did; use a thread when a loop must turn meanwhile."""

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer]) -> None:
        self.servers = list(servers)
        self.sentinels = list(sentinels)

    @property
    def url(self) -> str:
        """What REDIS_URL would say."""
        return ",".join([NAME, *(each.address for each in self.sentinels)])

    @property
    def master(self) -> RedisServer:
        """The server that the first sentinel that is awake names."""
        return self._named(next(each for each in self.sentinels if each.awake))

    @property
    def replica(self) -> RedisServer:
        """The other server, whether it runs or not."""
        return next(each for each in self.servers if each is not self.master)

    def kill_master(self) -> RedisServer:
        """Kill -9 it and return it; the sentinels are yet to notice."""
        master = self.master
        master.kill()
        return master

    def failover(self) -> RedisServer:
        """Promote the replica while the master is well; return the new master."""
        old = self.master
        until(self._ordered, "a failover begun")
        return self.promoted(old)

    def promoted(self, old: RedisServer) -> RedisServer:
        """Wait until every sentinel that is awake names another master, which is one; return it."""
        awake = [each for each in self.sentinels if each.awake]
        new = next(each for each in self.servers if each is not old)

        def agreed() -> bool:
            return new.role() == "master" and all(self._named(each) is new for each in awake)

        until(agreed, f"{new.address} promoted")
        return new

    def restart(self, old: RedisServer) -> None:
        """Start a killed server, which takes itself for a master, and wait until it is an equal replica of the one."""
        old.start()
        self.settle()

    def settle(self) -> None:
        """Wait until all that runs agrees: one master, the other its replica and in sync, every sentinel in sight."""
        until(self._settled, "a settled set")

    def _settled(self) -> bool:
        awake = [each for each in self.sentinels if each.awake]
        master = self.master
        if master.role() != "master" or any(self._named(each) is not master for each in awake):
            return False
        replicas = [each for each in self.servers if each is not master and each.awake]
        return all(each.in_sync(master.port) for each in replicas) and all(_sees(each, len(replicas)) for each in awake)

    def _named(self, sentinel: RedisServer) -> RedisServer:
        _, port = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return next(each for each in self.servers if each.port == int(port))

    def _ordered(self) -> bool:
        next(each for each in self.sentinels if each.awake).ask("SENTINEL", "FAILOVER", NAME)
        return True


def _fields(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _sees(sentinel: RedisServer, replicas: int) -> bool:
    master = _fields(sentinel.ask("SENTINEL", "MASTER", NAME))
    seen = map(_fields, sentinel.ask("SENTINEL", "REPLICAS", NAME))
    well = [each for each in seen if each["flags"] == "slave" and each["master-link-status"] == "ok"]
    return master["flags"] == "master" and len(well) == replicas


@dataclass
class _Making:
    """Makes the servers of a set, which all end with its stack."""

    stack: ExitStack
    folder: Path
    tls: TlsFiles | None

    def server(self, name: str, *options: str, password: str | None, ready: bytes = SERVING) -> RedisServer:
        place = self.folder / name
        place.mkdir()
        secure = [] if self.tls is None else ["--tls-replication", "yes", "--tls-auth-clients", "no"]
        options = (*options, *secure)
        made = RedisServer(place, options, tcp=True, tls=self.tls, ready=ready, password=password)
        self.stack.callback(made.kill)
        return made

    def pair(self, options: Sequence[str], password: str | None) -> list[RedisServer]:
        """Start a master and its replica."""
        secret = [] if password is None else ["--requirepass", password, "--masterauth", password]
        pair = [self.server(each, *AT_ONCE, *secret, *options, password=password) for each in ("master", "replica")]
        start_all(pair)
        master, replica = pair
        # Not by an option: each takes itself for a master when it comes back from the dead.
        replica.ask("REPLICAOF", "127.0.0.1", master.port)
        # A sentinel that meets a replica out of sync asks it again in 10 s.
        until(lambda: replica.in_sync(master.port), "the replica in sync")
        return pair

    def sentinels(self, pair: Sequence[RedisServer], settings: Settings, password: str | None) -> list[RedisServer]:
        """Start those that watch this pair."""
        files = {secrets.token_hex(20): self.folder / f"{turn}.conf" for turn in range(SENTINELS)}
        guarded = [] if password is None else ["--requirepass", password]
        made = {
            id_: self.server(id_, str(file), "--sentinel", *guarded, password=password, ready=READY)
            for id_, file in files.items()
        }
        secret = "" if password is None else f'sentinel sentinel-pass "{password}"\n'
        for id_, file in files.items():
            others = {other: sentinel.port for other, sentinel in made.items() if other != id_}
            file.write_text(_configuration(id_, others, pair, settings) + secret)
        start_all(list(made.values()))
        for sentinel in made.values():
            for setting, value in PACE.items():
                sentinel.ask("SENTINEL", "DEBUG", setting, value)
        return list(made.values())


def _configuration(own: str, others: dict[str, int], pair: Sequence[RedisServer], settings: Settings) -> str:
    """What a sentinel writes once it has met the others and the replica, which takes it seconds by itself."""
    master, replica = pair
    return "\n".join(
        [
            f"sentinel myid {own}",
            f"sentinel monitor {NAME} 127.0.0.1 {master.port} {QUORUM}",
            *(f'sentinel {key} {NAME} "{value}"' for key, value in settings.items()),
            f"sentinel known-replica {NAME} 127.0.0.1 {replica.port}",
            *(f"sentinel known-sentinel {NAME} 127.0.0.1 {port} {id_}" for id_, port in others.items()),
            "",
        ]
    )


@contextmanager
def redis_sentinel(
    *options: str,
    tls: TlsFiles | None = None,
    password: str | None = None,
    sentinel_password: str | None = None,
    down_after: int = 1000,
    failover_timeout: int = 1000,
) -> Iterator[RedisSentinel]:
    """Run a set; ``options`` are the servers', ``down_after`` and ``failover_timeout`` the sentinels' milliseconds."""
    settings: Settings = {
        "down-after-milliseconds": down_after,
        "failover-timeout": failover_timeout,
        "parallel-syncs": 1,
    }
    if password is not None:
        settings["auth-pass"] = password
    with ExitStack() as stack:
        making = _Making(stack, stack.enter_context(scratch_folder()), tls)
        pair = making.pair(options, password)
        running = RedisSentinel(pair, making.sentinels(pair, settings, sentinel_password))
        running.settle()
        yield running
