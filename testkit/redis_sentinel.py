"""A real Sentinel set for tests: a master, a replica and three Sentinels, enough to elect a new master."""

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
    # Periods in ms of a Sentinel's own actions; its defaults are 1 to 10 s, for wide-area networks.
    # A Sentinel promotes only a replica that answered in the last five ping or three INFO periods, and during a
    # failover it sends one INFO per second; ping-period must be well below down-after, or a new master is soon
    # considered dead.
    "ping-period": 300,
    "info-period": 500,
    "ask-period": 100,
    # A replica that reports to be a master is demoted after four of these; a promotion may go unnoticed for 1 s.
    "publish-period": 600,
    # A pause of a busy test machine must not be mistaken for a clock step.
    "tilt-period": 200,
}
PACED = (7, 0)
"""The first version that can be told these."""
SLOW_DOWN_AFTER = 3000
"""The least ``down-after-milliseconds`` of a Sentinel before, which pings only once a second."""


Settings = dict[str, str | int]
"""Settings of a Sentinel for its master."""


class RedisSentinel:
    """Servers and Sentinels. Methods block until their effect is visible; with an event loop, call them in a thread."""

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer]) -> None:
        self.servers = list(servers)
        self.sentinels = list(sentinels)

    @property
    def url(self) -> str:
        """Value for REDIS_URL."""
        return ",".join([NAME, *(each.address for each in self.sentinels)])

    @property
    def master(self) -> RedisServer:
        """The master according to the first Sentinel that is running and not hung."""
        return self._named(next(each for each in self.sentinels if each.awake))

    @property
    def replica(self) -> RedisServer:
        """The other server, which may be dead."""
        return next(each for each in self.servers if each is not self.master)

    def kill_master(self) -> RedisServer:
        """Kill the master with SIGKILL and return it, before the Sentinels have noticed."""
        master = self.master
        master.kill()
        return master

    def failover(self) -> RedisServer:
        """Promote the replica of a healthy master; return the new master."""
        old = self.master
        until(self._ordered, "a failover begun")
        return self.promoted(old)

    def promoted(self, old: RedisServer) -> RedisServer:
        """Wait until every running Sentinel names the other server, and that is a master; return it."""
        awake = [each for each in self.sentinels if each.awake]
        new = next(each for each in self.servers if each is not old)

        def agreed() -> bool:
            return new.role() == "master" and all(self._named(each) is new for each in awake)

        until(agreed, f"{new.address} promoted")
        return new

    def restart(self, old: RedisServer) -> None:
        """Start a killed server, which starts as a master, and wait until it is a synchronized replica."""
        old.start()
        self.settle()

    def settle(self) -> None:
        """Wait until all running servers agree on one master, replicas are synchronized, and Sentinels see them."""
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
    """Creates the servers of a set; the stack ends them."""

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
        # Not by an option: a killed server must restart as a master.
        replica.ask("REPLICAOF", "127.0.0.1", master.port)
        # A Sentinel that finds a replica out of sync sends it INFO again only after 10 s.
        until(lambda: replica.in_sync(master.port), "the replica in sync")
        return pair

    def sentinels(self, pair: Sequence[RedisServer], settings: Settings, password: str | None) -> list[RedisServer]:
        """Start the Sentinels of this pair."""
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
            for setting, value in PACE.items() if sentinel.version() >= PACED else ():
                sentinel.ask("SENTINEL", "DEBUG", setting, value)
        return list(made.values())


def _configuration(own: str, others: dict[str, int], pair: Sequence[RedisServer], settings: Settings) -> str:
    """Return the configuration with the replica and the other Sentinels, whose discovery would take seconds."""
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
    """Run a set; ``options`` are of the servers, ``down_after`` and ``failover_timeout`` of the Sentinels, in ms."""
    settings: Settings = {"failover-timeout": failover_timeout, "parallel-syncs": 1}
    if password is not None:
        settings["auth-pass"] = password
    with ExitStack() as stack:
        making = _Making(stack, stack.enter_context(scratch_folder()), tls)
        pair = making.pair(options, password)
        paced = pair[0].version() >= PACED
        settings["down-after-milliseconds"] = down_after if paced else max(down_after, SLOW_DOWN_AFTER)
        running = RedisSentinel(pair, making.sentinels(pair, settings, sentinel_password))
        running.settle()
        yield running
