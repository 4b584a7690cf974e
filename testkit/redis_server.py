"""A real redis-server for tests: on a unix socket, a free TCP port or TLS, and able to die, hang and come back."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from testkit.tls_files import TlsFiles

SERVING = b"eady to accept connections"
AT_ONCE = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
"""A replica need not wait to be fed together with others; and it counts as one from the first ping of its master."""
PORTS = range(10_000, 32_768)
"""Below those the system gives to outgoing connections, so that nobody takes the port of a server that was killed."""
PATIENCE = 30.0
"""Seconds that ``until`` waits: only a test that fails ever waits so long."""


class RedisServer:
    """One redis-server process with nothing on disk.

    ``address`` is what REDIS_URL would say, ``socket_type`` what REDIS_SOCKET_TYPE would (unix or tcp). With ``tls``
    it speaks TLS only. ``ready`` is what it prints once it listens. ``password`` is what ``ask`` gives.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str],
        *,
        tcp: bool,
        env: dict[str, str] | None = None,
        tls: TlsFiles | None = None,
        ready: bytes = SERVING,
        password: str | None = None,
    ) -> None:
        self.socket_type = "tcp" if tcp else "unix"
        self.address = f"127.0.0.1:{free_port()}" if tcp else str(folder / "redis.sock")
        self.tls = tls
        self._ready = ready
        self.password = password
        first = options[:1] if options and not options[0].startswith("--") else []  # a configuration file
        where = self._tcp() if tcp else ["--port", "0", "--unixsocket", self.address]
        kept = ["--save", "", "--dir", str(folder), *where]
        self._command = ["redis-server", *first, *kept, *options[len(first) :]]
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._hung = False

    def _tcp(self) -> list[str]:
        port = str(self.port)
        if self.tls is None:
            return ["--port", port]
        files = self.tls
        own = ["--tls-cert-file", str(files.server_certificate), "--tls-key-file", str(files.server_key)]
        return ["--port", "0", "--tls-port", port, *own, "--tls-ca-cert-file", str(files.authority)]

    @property
    def port(self) -> int:
        """Where it listens, of a TCP server."""
        return int(self.address.rpartition(":")[2])

    @property
    def awake(self) -> bool:
        """Whether it runs and does not hang."""
        return self._process is not None and not self._hung

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs now."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start, and return once connections are accepted."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start; until ``wait`` returns it may not listen yet."""
        assert self._process is None
        self._process = subprocess.Popen(
            self._command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Return once connections are accepted; fail with what it printed when it ends instead."""
        output = self.process.stdout
        assert output is not None
        said = []
        with output as lines:
            for line in lines:
                said.append(line)
                if self._ready in line:
                    return
        raise AssertionError(b"redis-server did not start: " + b"".join(said))

    def kill(self) -> None:
        """End it as kill -9 does; ``start`` brings an empty one back at the same address."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
            self._hung = False

    def hang(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        self._hung = True

    def resume(self) -> None:
        """SIGCONT."""
        self._hung = False
        self.process.send_signal(signal.SIGCONT)

    def client(self, **options: Any) -> "redis.Redis":
        """An ordinary client, for looking at what is stored; close it."""
        if self.socket_type == "unix":
            return redis.Redis(unix_socket_path=self.address, **options)
        if self.tls is None:
            return redis.Redis(port=self.port, **options)
        files: dict[str, Any] = {
            "ssl_ca_certs": str(self.tls.authority),
            "ssl_certfile": str(self.tls.client_certificate),
            "ssl_keyfile": str(self.tls.client_key),
        }
        return redis.Redis(port=self.port, ssl=True, **files, **options)

    def ask(self, *command: str | int, seconds: float = 2.0) -> Any:
        """One command on a connection of its own, which fails at once; redis.RedisError when it does."""
        once: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": seconds, "decode_responses": True}
        once["encoding_errors"] = "surrogateescape"  # a key may be any bytes
        with closing(self.client(password=self.password, protocol=2, **once)) as client:
            return client.execute_command(*command)

    def role(self) -> str:
        """Say master, slave or sentinel, as it sees itself."""
        return str(self.ask("ROLE")[0])

    def in_sync(self, port: int) -> bool:
        """Whether it is a replica of the master at this port, and has what that one has."""
        role = self.ask("ROLE")
        return role[0] == "slave" and [*role[2:4]] == [port, "connected"]


def free_port() -> int:
    """A TCP port nobody listens on at this moment."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.choice(PORTS)))
            except OSError:
                continue
            return int(probe.getsockname()[1])


def until(true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Ask again and again until it is true; a server that does not answer has not said so yet."""
    deadline = time.monotonic() + seconds
    why: object = ""
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except redis.RedisError as error:
            why = error
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds:g} s: {what} {why}")


def start_all(servers: Sequence[RedisServer]) -> None:
    """Start them side by side, and return once all accept connections."""
    for server in servers:
        server.launch()
    for server in servers:
        server.wait()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder with a path short enough for a unix socket's."""
    folder = Path(tempfile.mkdtemp(prefix="rl"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def redis_server(
    *options: str,
    tcp: bool = False,
    env: dict[str, str] | None = None,
    tls: TlsFiles | None = None,
    client_certificate: bool = False,
) -> Iterator[RedisServer]:
    """Run a redis-server with these command-line options, for instance ``"--requirepass", "x"``.

    With ``tls`` it is on TCP; ``client_certificate``: nobody may connect without one.
    """
    mutual = [] if tls is None else ["--tls-auth-clients", "yes" if client_certificate else "no"]
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        server = RedisServer(folder, [*mutual, *options], tcp=tcp or tls is not None, env=env, tls=tls)
        stack.callback(server.kill)
        server.start()
        yield server


class Clock:
    """The clock of a redis-server under libfaketime; pass ``env`` to ``redis_server``."""

    def __init__(self, folder: Path, library: str) -> None:
        self._file = folder / "clock"
        self.step_to(0)
        self.env = {
            # libc behind it: jemalloc, which Redis links, asks for the time while libfaketime starts, and fails.
            "LD_PRELOAD": f"{library}:libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step_to(self, offset: int) -> None:
        """Set how many seconds the server's wall clock is ahead (below 0: behind) of ours."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset:+d}s\n")
        fresh.replace(self._file)


def faked_clock(folder: Path) -> Clock | None:
    """A clock to be stepped, or None where libfaketime is not installed."""
    if shutil.which("faketime") is None:
        return None
    said = subprocess.run(
        ["faketime", "-f", "+0s", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    return Clock(folder, said.stdout.strip())
