"""The load generators: load.c, which checks every answer, and for comparison h2load and wrk."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from testkit.errors import MISSING, BenchError
from testkit.machine import cpu_seconds, pinned
from testkit.server import METHOD

SOURCE: Final = Path(__file__).with_name("load.c")
BUILD: Final = Path("build")

UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}

WARMUP: Final = 1.0
"""Seconds before each measurement, for connections, caches and the CPU frequency to settle."""


class Load(NamedTuple):
    """Parameters of a load.

    Attributes:
        connections: number of connections.
        streams: concurrent calls per connection.
        seconds: duration of the measurement.
        warm: seconds of the same load before the measurement begins.
        warm_calls: calls before the measurement begins, in addition to these seconds.
        rate: calls per second, evenly spaced; 0: the maximum rate.
        scheme: grpc, grpcs for TLS, or http for GETs over HTTP/2.
    """

    connections: int
    streams: int
    seconds: float
    warm: float = WARMUP
    warm_calls: int = 0
    rate: float = 0.0
    scheme: str = "grpc"
    path: str = METHOD


class Result(NamedTuple):
    """Result of one measurement: latencies in seconds; ``cpu`` in seconds for each watched process.

    ``busy`` is the CPU utilization of the load generator: near 1, the load generator was the bottleneck.
    """

    calls: int
    seconds: float
    p50: float
    p99: float
    worst: float
    over_limit: int
    answer_bytes: float
    busy: float
    cpu: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds


class FailedCallsError(BenchError):
    """Some calls failed, so the measurement must not be quoted."""


def frame(message: bytes) -> bytes:
    """Return a message with the gRPC prefix: uncompressed, and its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def build(source: Path = SOURCE, libraries: Sequence[str] = ("nghttp2", "ssl", "crypto")) -> Path:
    """Compile a load generator if its source is newer than the program; returns the program. Raises BenchError."""
    program = BUILD / f"bench-{source.stem}"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    if shutil.which("gcc") is None:
        raise BenchError(MISSING.format("gcc"))
    BUILD.mkdir(exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = ["gcc", "-O2", "-o", str(fresh), str(source), *(f"-l{library}" for library in libraries)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise BenchError(f"{source.name} does not compile; scripts/bench-system installs its libraries:\n{said.stderr}")
    return fresh.replace(program)


def run(
    address: str,
    frames: Iterable[bytes],
    load: Load,
    core: int,
    *,
    watch: Sequence[int] = (),
    during: Callable[[], None] | None = None,
) -> Result:
    """Call the service at ``address``, and measure latencies and the CPU time of the processes in ``watch``.

    ``during`` runs during the measurement, which ends when it returns. Raises FailedCallsError if a call failed, and
    BenchError if nothing was measured.
    """
    host, _, port = address.rpartition(":")
    with tempfile.NamedTemporaryFile() as file:
        file.writelines(frames)
        file.flush()
        numbers = (load.connections, load.streams, load.seconds, load.warm, load.warm_calls, load.rate, load.scheme)
        where = (host.strip("[]"), port, load.path, file.name)
        command = pinned(core, [str(build().absolute()), *where, *map(str, numbers)])
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            return _measured(process, watch, during)
        finally:
            process.kill()
            process.communicate()


def _measured(process: "subprocess.Popen[str]", watch: Sequence[int], during: Callable[[], None] | None) -> Result:
    assert process.stdout is not None
    process.stdout.readline()
    before = [cpu_seconds(pid) for pid in watch]
    if during is not None:
        during()
        process.terminate()
    line = process.stdout.readline()
    cpu = [cpu_seconds(pid) - at for pid, at in zip(watch, before, strict=True)]
    if not line:
        raise BenchError(f"the load ended early: {process.communicate()[1].strip()}")
    return result(json.loads(line), cpu)


def result(said: dict[str, Any], cpu: Sequence[float] = ()) -> Result:
    """Read the output of load.c; raises FailedCallsError if a call failed."""
    if said["failed"] or not said["calls"]:
        raise FailedCallsError(f"{said['failed']} of {said['calls']} calls failed (by status: {said['statuses']})")
    p50, p99, worst = (said[name] / 1e9 for name in ("p50", "p99", "max"))
    return Result(
        said["calls"],
        said["seconds"],
        p50,
        p99,
        worst,
        said["over_limit"],
        said["answer_bytes"],
        said["busy"],
        tuple(cpu),
    )


def h2load(address: str, body: bytes, load: Load, core: int) -> float | None:
    """Return the calls per second that h2load measures, for comparison; None if it is not installed or failed."""
    if shutil.which("h2load") is None:
        return None
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        options = [f"-c{load.connections}", f"-m{load.streams}", f"-D{load.seconds:g}", f"--warm-up-time={load.warm:g}"]
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        url = f"http://{address}{METHOD}"
        command = pinned(core, ["h2load", *options, "-d", file.name, *headers, url])
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    with suppress(BenchError):
        return parse_h2load(said.stdout)
    return None


def parse_h2load(text: str) -> float:
    """Read the requests per second; raises BenchError if one failed or none was made."""
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", text)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    if rate is None or counts is None or float(rate[1]) == 0:
        raise BenchError("h2load measured nothing")
    if any(map(int, counts.groups()[1:])):
        raise FailedCallsError(f"h2load: {counts[0]}")
    return float(rate[1])


class Web(NamedTuple):
    """What wrk measured: requests, those that failed, seconds of the median and the 99th percentile."""

    requests: int
    failed: int
    rate: float
    p50: float
    p99: float


def parse_wrk(text: str) -> Web:
    """Read the output of ``wrk --latency``; raises BenchError if it measured nothing."""
    requests = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    if requests is None or rate is None or not int(requests[1]):
        raise BenchError(f"wrk measured nothing:\n{text}")
    failed = [int(found) for found in re.findall(r"Non-2xx or 3xx responses: (\d+)", text)]
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed += map(int, errors.groups()) if errors else ()
    return Web(int(requests[1]), sum(failed), float(rate[1]), _wrk_latency(text, "50"), _wrk_latency(text, "99"))


def _wrk_latency(text: str, percent: str) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk reports no {percent}% latency; --latency is required")
    return float(found[1]) * UNITS[found[2]]
