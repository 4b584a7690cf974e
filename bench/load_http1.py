"""load_http1.c: GETs over HTTP/1.1, whose heads repeat or all differ, and latencies by connection."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.load import WARMUP, build
from testkit.errors import BenchError
from testkit.machine import pinned

SOURCE: Final = Path(__file__).with_name("load_http1.c")

SLOWEST: Final = 3
"""Connections whose share of the slow requests is reported, as in load_http1.c."""


class Requests(NamedTuple):
    """What one run measured: seconds, and counts of requests.

    Attributes:
        failed: responses with another status than 200, or a body of another size.
        status: of one of them; 0 if none failed.
        busy: CPU utilization of the load generator.
        worst_p99: the highest p99 of one connection.
        slow_share: the part that ``SLOWEST`` connections have of the slowest hundredth of all requests.
        fewest: requests of the connection that had the fewest.
    """

    seconds: float
    requests: int
    failed: int
    status: int
    busy: float
    p50: float
    p99: float
    longest: float
    worst_p99: float
    slow_share: float
    fewest: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class Running:
    """A load whose warm-up is over. ``result`` waits for its end; raises BenchError."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def result(self) -> Requests:
        """Return what was measured."""
        out, error = self._process.communicate()
        if self._process.returncode:
            raise BenchError(f"the load ended early: {error.strip()}")
        return requests(json.loads(out))


@contextmanager
def load(
    address: str, head: bytes, body: int, connections: int, seconds: float, core: int, warm: float = WARMUP
) -> Iterator[Running]:
    """Start a load, and wait for the end of its warm-up.

    ``head`` may have runs of ``#``: see load_http1.c. ``body`` is the size that each response's body has to have.
    """
    host, _, port = address.rpartition(":")
    with tempfile.NamedTemporaryFile() as file:
        file.write(head)
        file.flush()
        program = str(build(SOURCE, ()).absolute())
        words = [program, host.strip("[]"), port, file.name, *map(str, (body, connections, seconds, warm))]
        process = subprocess.Popen(pinned(core, words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise BenchError(f"the load ended early: {process.communicate()[1].strip()}")
            yield Running(process)
        finally:
            process.kill()
            process.communicate()


def requests(said: dict[str, Any]) -> Requests:
    """Read the output of load_http1.c."""
    p50, p99, longest, worst = (said[name] / 1e9 for name in ("p50", "p99", "max", "worst_p99"))
    return Requests(
        said["seconds"],
        said["requests"],
        said["failed"],
        said["status"],
        said["busy"],
        p50,
        p99,
        longest,
        worst,
        said["slow_share"],
        said["fewest"],
    )
