"""A real redis-server for tests, on a Unix socket, a free TCP port or TLS, which can be killed, hung and restarted."""

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
"""Do not wait for more replicas before replication starts; ping each second, since a replica counts from the first."""
PORTS = range(10_000, 32_768)
"""Below the range of ephemeral ports, so that no outgoing connection takes the port of a killed server."""
BUS = 10_000
"""A cluster's node listens for others at its port and this; ``cluster-port``, which says another one, is of 7.0."""
NODE_PORTS = range(10_000, 20_000)
"""Of a cluster's nodes, so that their buses are below the ephemeral ports too, and no bus is at a node's port."""
PATIENCE = 30.0
"""Timeout of ``until`` in seconds; only a failing test waits that long."""


class RedisServer:
    """One redis-server process without persistence.

    ``ready`` is the output that shows that it listens.

    Attributes:
        address: value for REDIS_URL.
        socket_type: value for REDIS_SOCKET_TYPE, unix or tcp.
        tls: its certificates, if it accepts only TLS.
        password: the password that ``ask`` sends.
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
        port: int = 0,
    ) -> None:
        self.socket_type = "tcp" if tcp else "unix"
        self.address = f"127.0.0.1:{port or free_port()}" if tcp else str(folder / "redis.sock")
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
        """Port of a TCP server."""
        return int(self.address.rpartition(":")[2])

    @property
    def awake(self) -> bool:
        """Whether it is running and not hung."""
        return self._process is not None and not self._hung

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start the server; return when it accepts connections."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the server without waiting until it listens; ``wait`` does that."""
        assert self._process is None
        self._process = subprocess.Popen(
            self._command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Wait until the server accepts connections; if it exits instead, raise AssertionError with its output."""
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
        """Kill the server with SIGKILL; ``start`` starts an empty one at the same address."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for left in Path("/dev/shm").glob(f"*faketime_*_{self._process.pid}"):
                left.unlink(missing_ok=True)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
            self._hung = False

    def hang(self) -> None:
        """Suspend the server with SIGSTOP: connections stay open, but no command is answered."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        self._hung = True

    def resume(self) -> None:
        """Resume the server with SIGCONT."""
        self._hung = False
        self.process.send_signal(signal.SIGCONT)

    def client(self, **options: Any) -> "redis.Redis":
        """Return a redis-py client, for inspecting keys; the caller closes it."""
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
        """Send one command on a new connection, without retries; raises redis.RedisError."""
        once: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": seconds, "decode_responses": True}
        once["encoding_errors"] = "surrogateescape"  # keys need not be UTF-8
        with closing(self.client(password=self.password, protocol=2, **once)) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def version(self) -> tuple[int, int]:
        """Return the first two numbers of its version; a Valkey's is that of the Redis that it replaces, 7.2."""
        first, second, *_ = self.ask("INFO", "server")["redis_version"].split(".")
        return int(first), int(second)

    def role(self) -> str:
        """Return the role that the server reports: master, slave or sentinel."""
        return str(self.ask("ROLE")[0])

    def in_sync(self, port: int) -> bool:
        """Whether it is a replica of the master at this port, and synchronized."""
        role = self.ask("ROLE")
        return role[0] == "slave" and [*role[2:4]] == [port, "connected"]


def free_port() -> int:
    """Return a TCP port that is free at this moment."""
    return next(port for port in iter(lambda: random.choice(PORTS), None) if _is_free(port))


def node_port() -> int:
    """Return a TCP port for a cluster's node: it and that of its bus are free at this moment."""
    ports = iter(lambda: random.choice(NODE_PORTS), None)
    return next(port for port in ports if _is_free(port) and _is_free(port + BUS))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def until(true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Poll a condition until it is true; an error of Redis counts as false. Raises AssertionError at the timeout."""
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
    """Start servers concurrently; return when all accept connections."""
    for server in servers:
        server.launch()
    for server in servers:
        server.wait()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder whose path is short enough for a Unix socket."""
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
    port: int = 0,
) -> Iterator[RedisServer]:
    """Run a redis-server with these command-line options, for instance ``"--requirepass", "x"``.

    ``tls`` implies TCP. With ``client_certificate``, clients must present a certificate. ``port`` 0 is a free one.
    """
    mutual = [] if tls is None else ["--tls-auth-clients", "yes" if client_certificate else "no"]
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        server = RedisServer(folder, [*mutual, *options], tcp=tcp or tls is not None, env=env, tls=tls, port=port)
        stack.callback(server.kill)
        server.start()
        yield server


class Clock:
    """The clock of a redis-server under libfaketime; ``env`` is the environment for ``redis_server``."""

    def __init__(self, folder: Path, library: str) -> None:
        self._file = folder / "clock"
        self.step_to(0)
        self.env = {
            # libc after it: otherwise jemalloc, which Redis links, reads the clock while libfaketime starts, and fails.
            "LD_PRELOAD": f"{library}:libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step_to(self, offset: int) -> None:
        """Set the offset in seconds of the server's wall clock to the real one; negative: behind."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset:+d}s\n")
        fresh.replace(self._file)


def faked_clock(folder: Path) -> Clock | None:
    """Return a clock that can be stepped, or None if libfaketime is not installed."""
    # Not through the faketime command: it refuses to start when /dev/shm holds a file named after its process id,
    # which any process that libfaketime was in leaves behind when it is killed.
    found = next(Path("/usr").glob("lib/*/faketime/libfaketime.so.1"), None)
    return Clock(folder, str(found)) if found is not None else None
