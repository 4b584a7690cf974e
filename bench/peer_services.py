"""Other services for Envoy's rate-limit API: those of --peer, which the bench starts or which run already."""

import secrets
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import grpc

from bench.policy import LIMITS, PEERS, PLENTY, SIZES, peer_files, probe, write_for_peers
from ratelimitd.proto import message
from testkit import server
from testkit.environment import bare
from testkit.errors import BenchError
from testkit.machine import Cores, pin, pinned
from testkit.server import METHOD, Subject

RUNNING: Final = "NAME=HOST:PORT,store=memory|redis[,pid=N][,redis=N]"
COMMAND: Final = "NAME=memory|redis:COMMAND"
PEER: Final = f"{COMMAND}|{RUNNING}"

STORES: Final = ("memory", "redis")

READY_SECONDS: Final = 30.0
"""Timeout for a peer to answer as the policy says; it takes envoyproxy/ratelimit and Limitador less than a second."""

LOAD_SECONDS: Final = 5.0
"""Timeout after its first answer: it may listen before it has loaded the policy."""

LISTEN, PORT, FREE, REDIS, RUNTIME, FILE = "{listen}", "{port}", "{free}", "{redis}", "{runtime}", "{limits}"
PEER_PLACES: Final[Mapping[str, str]] = {
    LISTEN: "the host:port of the gRPC listener",
    PORT: "its port alone",
    FREE: "another free port, a different one each time",
    REDIS: "the host:port of a Redis of its own",
    RUNTIME: "the RUNTIME_ROOT of envoyproxy/ratelimit with the policy of the bench, in ratelimit/config",
    FILE: "the limits file of Limitador with the same policy",
}
"""Placeholders of a command."""


class Startable(NamedTuple):
    """A peer and the command that starts it, in the foreground; its words have ``PEER_PLACES``."""

    name: str
    store: str
    words: tuple[str, ...]

    def command(self, listen: str, redis: str = "") -> list[str]:
        """Return the command for these addresses."""
        values = {
            LISTEN: listen,
            PORT: listen.rpartition(":")[2],
            REDIS: redis,
            RUNTIME: str(PEERS.absolute()),
            FILE: str((PEERS / LIMITS).absolute()),
        }
        return [_filled(word, values) for word in self.words]


Peer = Startable | Subject
"""A peer that the bench starts, or one that runs already."""


def _filled(word: str, values: Mapping[str, str]) -> str:
    for place, value in values.items():
        word = word.replace(place, value)
    while FREE in word:
        word = word.replace(FREE, str(server.free_port()), 1)
    return word


def peer(text: str) -> Peer:
    """Parse ``PEER``; raises ValueError."""
    name, _, rest = text.partition("=")
    store, _, command = rest.partition(":")
    if "{" not in text:
        return _running(text)
    missing = [
        *([] if LISTEN in command or PORT in command else [f"{LISTEN} or {PORT}"]),
        *([] if RUNTIME in command or FILE in command else [f"{RUNTIME} or {FILE}"]),
        *([REDIS] if store == "redis" and REDIS not in command else []),
    ]
    if not name or store not in STORES or missing:
        needed = f", with {' and '.join(missing)} in the command" if missing else ""
        raise ValueError(f"'{text}' is not a peer; write {COMMAND}{needed}")
    return Startable(name, store, tuple(shlex.split(command)))


def _running(text: str) -> Subject:
    name, separator, rest = text.partition("=")
    address, *options = rest.split(",")
    given = dict(option.partition("=")[::2] for option in options)
    host, _, port = address.rpartition(":")
    numbers = [given.get("pid", "0"), given.get("redis", "0")]
    known = given.keys() <= {"store", "pid", "redis"} and given.get("store") in STORES
    if not (name and separator and host and port.isdigit() and known and all(each.isdigit() for each in numbers)):
        raise ValueError(f"'{text}' is not a peer; write {COMMAND}, or, of one that runs, {RUNNING}")
    pid, redis = map(int, numbers)
    return Subject(name, address, pid, store=given["store"], redis=(redis,) if redis else ())


@contextmanager
def started(peers: Sequence[Peer], where: Cores) -> Iterator[list[Subject]]:
    """Start the peers, each on the core of the server with a Redis of its own on that of Redis; move those that run.

    Raises BenchError if one does not answer as the policy of the bench says.
    """
    write_for_peers()
    with ExitStack() as stack:
        yield [
            stack.enter_context(_start(each, where)) if isinstance(each, Startable) else _moved(each, where)
            for each in peers
        ]


def _moved(subject: Subject, where: Cores) -> Subject:
    for pid, core in ((subject.pid, where.server), *((each, where.redis) for each in subject.redis)):
        if pid:
            pin(pid, core)
    await_policy(subject, lambda: True)
    return subject


@contextmanager
def _start(wanted: Startable, where: Cores) -> Iterator[Subject]:
    with ExitStack() as stack:
        redis, *pids = stack.enter_context(server.redis(where)) if wanted.store == "redis" else ("",)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench"))
        log, address = Path(folder, "log"), f"127.0.0.1:{server.free_port()}"
        with log.open("wb") as lines:
            command = pinned(where.server, wanted.command(address, str(redis)))
            process = subprocess.Popen(command, stdout=lines, stderr=lines, env={**bare(), "HOME": folder})
        stack.callback(server.end, process)
        subject = Subject(wanted.name, address, process.pid, log=log, store=wanted.store, redis=tuple(map(int, pids)))
        await_policy(subject, lambda: process.poll() is None)
        yield subject


def await_policy(subject: Subject, alive: Callable[[], bool]) -> None:
    """Wait until a peer decides as the policy of the bench; raises BenchError, with its output and that policy."""
    until = time.monotonic() + READY_SECONDS
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(subject.address, options) as channel:
        while alive():
            wrong, answered = _wrong(channel)
            if not wrong:
                return
            if answered:
                until = min(until, time.monotonic() + LOAD_SECONDS)
            if time.monotonic() >= until:
                break
            time.sleep(0.05)
        else:
            wrong = "it ended"
    said = subject.log.read_text(errors="replace") if subject.log.is_file() else ""
    expected = "".join(f"# {name}\n{text}" for name, text in peer_files().items())
    raise BenchError(
        f"{subject.name} does not decide by the policy of the bench: {wrong}\nits output:\n{said or '(none)'}\n"
        f"the policy, in {PEERS}:\n{expected}"
    )


def _wrong(channel: grpc.Channel) -> tuple[str, bool]:
    """Return the first decision that is not of the policy, empty if all are, and whether there was an answer."""
    answer = message("envoy.service.ratelimit.v3.RateLimitResponse")
    call = channel.unary_unary(METHOD, None, answer.FromString)
    for size in SIZES:
        for hits, expected in ((1, "OK"), (PLENTY + 1, "OVER_LIMIT")):
            asked = probe(size, hits, secrets.token_hex(8))
            try:
                got = call(asked.SerializeToString(), timeout=1.0)
            except grpc.RpcError as error:
                return f"{error.code().name}: {error.details()}", False
            code = answer.Code.Name(got.overall_code)
            limits = [each.current_limit.requests_per_unit for each in got.statuses]
            if code != expected or any(limit != PLENTY for limit in limits):
                said = f"{code}, limits {limits}" if limits else code
                return f"{hits} hits in domain {asked.domain} are {said}, not {expected}", True
    return "", True
