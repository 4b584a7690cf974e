"""Four services that share one limit, a load on each, and operations for fault injection."""

import os
import signal
import time
import urllib.error
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.load import frame
from bench.policy import DOMAIN
from bench.trace import Call, Tracer
from ratelimitd.proto import message
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores
from testkit.server import Subject, metrics

SIZE: Final = 4
"""Number of services, and the value of REPLICAS."""

TRANSPORT: Final = "nghttp2"


class Member:
    """One service and the load on it."""

    def __init__(self, policy: str, env: Mapping[str, str], where: Cores) -> None:
        self._policy, self._env, self._where = policy, env, where
        self._life = ExitStack()
        self._load: Tracer | None = None
        self._calls: list[Call] = []
        self.subject = Subject(TRANSPORT, "")

    def start(self) -> None:
        """Start the service."""
        run = server.service(TRANSPORT, self._policy, self._where.server, self._env)
        self.subject = self._life.enter_context(run)

    def kill(self) -> None:
        """Kill the service with SIGKILL, and end its load."""
        os.kill(self.subject.pid, signal.SIGKILL)
        self._life.close()
        self.pause()

    def load(self, body: bytes, rate: float) -> None:
        """Start a load on the service."""
        self._load = Tracer(self.subject.address, [body], self._where.load, rate=rate)

    def pause(self) -> None:
        """End the load, and keep its records."""
        if self._load is not None:
            self._calls += self._load.end()
            self._load = None

    def calls(self) -> list[Call]:
        """End the load; return all calls since the previous call of this method."""
        self.pause()
        calls, self._calls = self._calls, []
        return calls

    def reload(self, text: str) -> None:
        """Write another policy, and trigger a reload."""
        file = self.subject.log.with_name("policy.yaml")
        fresh = Path(f"{file}.new")
        fresh.write_text(text)
        fresh.replace(file)
        os.kill(self.subject.pid, signal.SIGHUP)

    def close(self) -> None:
        """End the load and the service."""
        self.pause()
        self._life.close()


class Fleet:
    """The services of one limit."""

    def __init__(self, policy: str, env: Mapping[str, str], where: Cores) -> None:
        self.policy = policy
        env = {"REPLICAS": str(SIZE), **env}
        self.members = [Member(policy, env, where) for _ in range(SIZE)]
        self._asked = b"", 0.0

    def start(self) -> None:
        """Start all services concurrently."""
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(Member.start, self.members))

    def load(self, key: str, value: str, rate: float) -> None:
        """Start a load on one counter, ``rate`` calls per second in total."""
        self._asked = request(key, value), rate / SIZE
        for each in self.members:
            each.load(*self._asked)

    @property
    def addresses(self) -> list[str]:
        """Addresses of all services."""
        return [each.subject.address for each in self.members]

    def metrics(self) -> list[dict[str, float]]:
        """Return the metrics of each service."""
        return [metrics(each.subject) for each in self.members]

    def calls(self) -> list[Call]:
        """End the load; return its calls of all services."""
        return [call for each in self.members for call in each.calls()]

    def kill(self, number: int) -> None:
        """Kill one service with SIGKILL."""
        self.members[number].kill()

    def restart(self, number: int) -> None:
        """Start a killed service and its load again."""
        self.members[number].start()
        self.members[number].load(*self._asked)

    def close(self) -> None:
        """End all services."""
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(Member.close, self.members))


@contextmanager
def fleet(policy: str, env: Mapping[str, str], where: Cores) -> Iterator[Fleet]:
    """Run four services with one policy, and one Redis that ``env`` sets."""
    running = Fleet(policy, env, where)
    try:
        running.start()
        yield running
    finally:
        running.close()


def request(key: str, value: str) -> bytes:
    """Return a gRPC frame of a request with one descriptor of one entry."""
    built = message("envoy.service.ratelimit.v3.RateLimitRequest")(domain=DOMAIN)
    built.descriptors.add().entries.add(key=key, value=value)
    return frame(built.SerializeToString())


def ready(subject: Subject, seconds: float = 10.0) -> None:
    """Wait until the service is connected to Redis."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if metrics(subject).get("ratelimitd_store_connected"):
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.02)
    raise BenchError(f"the service did not connect to Redis:\n{subject.log.read_text()}")
