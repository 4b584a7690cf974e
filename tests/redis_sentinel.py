"""A real Sentinel set for tests: a master, a replica and three sentinels that can agree on a new master."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.redis_server import AT_ONCE, SERVING, RedisServer, scratch_folder, start_all, until
from tests.tls_files import TlsFiles

NAME = "mymaster"
SENTINELS = 3
QUORUM = 2
READY = b"Sentinel ID is"
PACE = {
    # Milliseconds between what a sentinel does of itself: its own are 1 to 10 s, made for wide networks.
    # It only promotes a replica that it heard of in the last five pings or three INFOs, and during a failover
    # it asks once a second.
    "ping-period": 500,
    "info-period": 500,
    "ask-period": 100,
    # Four of these after it looks like a master a replica is demoted; a promotion may go unseen for one second.
    "publish-period": 600,
    # A busy test machine is not a clock that jumped.
    "tilt-period": 200,
}


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
        """The server that the first running sentinel names."""
        return self._named(next(each for each in self.sentinels if each.running))

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
        until(lambda: self._ordered(next(each for each in self.sentinels if each.running)), "a failover begun")
        return self.promoted(old)

    def promoted(self, old: RedisServer) -> RedisServer:
        """Wait until every running sentinel names another master, which is one; return it."""
        running = [each for each in self.sentinels if each.running]
        new = next(each for each in self.servers if each is not old)

        def agreed() -> bool:
            return new.role() == "master" and all(self._named(each) is new for each in running)

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
        running = [each for each in self.sentinels if each.running]
        master = self.master
        if master.role() != "master" or any(self._named(each) is not master for each in running):
            return False
        replicas = [each for each in self.servers if each is not master and each.running]
        return all(each.in_sync(master.port) for each in replicas) and all(
            _sees(each, len(replicas)) for each in running
        )

    def _named(self, sentinel: RedisServer) -> RedisServer:
        _, port = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return next(each for each in self.servers if each.port == int(port))

    def _ordered(self, sentinel: RedisServer) -> bool:
        sentinel.ask("SENTINEL", "FAILOVER", NAME)
        return True


def _fields(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _sees(sentinel: RedisServer, replicas: int) -> bool:
    master = _fields(sentinel.ask("SENTINEL", "MASTER", NAME))
    seen = map(_fields, sentinel.ask("SENTINEL", "REPLICAS", NAME))
    well = [each for each in seen if each["flags"] == "slave" and each["master-link-status"] == "ok"]
    return master["flags"] == "master" and len(well) == replicas


def _configuration(
    own: str, others: dict[str, RedisServer], servers: Sequence[RedisServer], settings: dict[str, str | int]
) -> str:
    """What a sentinel writes once it has met the others and the replica, which takes it seconds by itself."""
    master, *replicas = servers
    return "\n".join(
        [
            f"sentinel myid {own}",
            f"sentinel monitor {NAME} 127.0.0.1 {master.port} {QUORUM}",
            f"sentinel parallel-syncs {NAME} 1",
            *(f"sentinel {key} {NAME} {value}" for key, value in settings.items()),
            *(f"sentinel known-replica {NAME} 127.0.0.1 {each.port}" for each in replicas),
            *(f"sentinel known-sentinel {NAME} 127.0.0.1 {each.port} {id_}" for id_, each in others.items()),
            "",
        ]
    )


@contextmanager
def redis_sentinel(
    *options: str,
    tls: TlsFiles | None = None,
    password: str | None = None,
    sentinel_password: str | None = None,
    down_after: int = 500,
    failover_timeout: int = 1000,
) -> Iterator[RedisSentinel]:
    """Run a set; ``options`` are the servers', ``down_after`` and ``failover_timeout`` the sentinels' milliseconds."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        secure = [] if tls is None else ["--tls-replication", "yes", "--tls-auth-clients", "no"]

        def made(name: str, *own: str, password: str | None, ready: bytes = SERVING) -> RedisServer:
            place = folder / name
            place.mkdir()
            server = RedisServer(place, [*own, *secure], tcp=True, tls=tls, ready=ready, password=password)
            stack.callback(server.kill)
            return server

        secret = [] if password is None else ["--requirepass", password, "--masterauth", password]
        master = made("master", *AT_ONCE, *secret, *options, password=password)
        replica = made("replica", *AT_ONCE, *secret, *options, password=password)
        start_all([master, replica])
        # Not by an option: each takes itself for a master when it comes back from the dead.
        replica.ask("REPLICAOF", "127.0.0.1", master.port)

        ids = [secrets.token_hex(20) for _ in range(SENTINELS)]
        guarded = [] if sentinel_password is None else ["--requirepass", sentinel_password]
        files = {each: folder / f"sentinel-{each}.conf" for each in ids}
        sentinels = {
            each: made(each, str(file), "--sentinel", *guarded, password=sentinel_password, ready=READY)
            for each, file in files.items()
        }
        settings: dict[str, str | int] = {"down-after-milliseconds": down_after, "failover-timeout": failover_timeout}
        if password is not None:
            settings["auth-pass"] = password
        for each, file in files.items():
            others = {id_: one for id_, one in sentinels.items() if id_ != each}
            file.write_text(_configuration(each, others, [master, replica], settings))
            if sentinel_password is not None:
                with file.open("a") as more:
                    more.write(f"sentinel sentinel-pass {sentinel_password}\n")
        # A sentinel that meets a replica out of sync asks it again in 10 s.
        until(lambda: replica.in_sync(master.port), "the replica in sync")
        start_all(list(sentinels.values()))
        for each in sentinels.values():
            for setting, value in PACE.items():
                each.ask("SENTINEL", "DEBUG", setting, value)
        running = RedisSentinel([master, replica], list(sentinels.values()))
        running.settle()
        yield running
