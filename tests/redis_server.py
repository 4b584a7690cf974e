"""A real redis-server for tests: on a unix socket or a free TCP port, and able to die, hang and come back."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from ratelimitd.settings import load
from ratelimitd.stores.redis import Address

READY = b"eady to accept connections"


class RedisServer:
    """One redis-server process with nothing on disk.

    ``address`` is what REDIS_URL would say, ``socket_type`` what REDIS_SOCKET_TYPE would (unix or tcp).
    """

    def __init__(self, folder: Path, options: Sequence[str], *, tcp: bool, env: dict[str, str]) -> None:
        self.socket_type = "tcp" if tcp else "unix"
        self.address = f"127.0.0.1:{free_port()}" if tcp else str(folder / "redis.sock")
        where = ["--port", self.address.rpartition(":")[2]] if tcp else ["--port", "0", "--unixsocket", self.address]
        self._command = ["redis-server", "--save", "", "--dir", str(folder), *where, *options]
        self._env = {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs now."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start, and return once connections are accepted."""
        assert self._process is None
        self._process = subprocess.Popen(
            self._command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        said = []
        with self._process.stdout as lines:
            for line in lines:
                said.append(line)
                if READY in line:
                    return
        raise AssertionError(b"redis-server did not start: " + b"".join(said))

    def kill(self) -> None:
        """End it as kill -9 does; ``start`` brings an empty one back at the same address."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def client(self, **options: object) -> "redis.Redis":
        """An ordinary client, for looking at what is stored; close it."""
        if self.socket_type == "unix":
            return redis.Redis(unix_socket_path=self.address, **options)  # type: ignore[call-overload]
        return redis.Redis(port=int(self.address.rpartition(":")[2]), **options)  # type: ignore[call-overload]


def free_port() -> int:
    """A TCP port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address_of(url: str, auth: str = "") -> Address:
    """What REDIS_URL and REDIS_AUTH mean, as the service reads them."""
    where = load({"REDIS_URL": url} | ({"REDIS_AUTH": auth} if auth else {}), {}).redis
    assert where is not None
    return Address(*where)


@contextmanager
def redis_server(*options: str, tcp: bool = False, env: dict[str, str] | None = None) -> Iterator[RedisServer]:
    """Run a redis-server with these command-line options, for instance ``"--requirepass", "x"``."""
    folder = Path(tempfile.mkdtemp(prefix="rl"))
    server = None
    try:
        server = RedisServer(folder, options, tcp=tcp, env=env or {})
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder)


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
