"""The processes under measurement: the service as a user starts it, and its Redis."""

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from testkit.environment import bare
from testkit.errors import MISSING, BenchError
from testkit.machine import Cores, pinned

METHOD: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
TRANSPORTS: Final = ("nghttp2", "grpcio")
START_SECONDS: Final = 120.0
"""Timeout for a service with 100,000 rules to start; a slow machine parses them in 20 s."""

STOP_SECONDS: Final = 10.0
CLUSTER_SECONDS: Final = 20.0
"""Timeout for a cluster to be ready; a new master waits for 2 s, and its bus for up to a second."""


class Subject(NamedTuple):
    """A running service.

    Attributes:
        address: host:port of its gRPC listener.
        pid: its process; 0 if unknown, in which case its CPU and memory are not measured.
        http: host:port of its HTTP listener; empty for a peer.
        log: its log file.
        debug: host:port of its debug listener; empty for a peer.
        store: of a peer, where it keeps counters: memory or redis.
        redis: processes of its own Redis, if their CPU is measured.
    """

    name: str
    address: str
    pid: int = 0
    http: str = ""
    log: Path = Path()
    debug: str = ""
    store: str = ""
    redis: tuple[int, ...] = ()


@cache
def flags() -> str:
    """Return the output of ``serve --help``, which lists the flags that this version has."""
    command = [sys.executable, "-m", "ratelimitd", "serve", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def has(flag: str) -> bool:
    """Return whether ``serve`` has a flag."""
    return f"{flag} " in flags()


def transports() -> tuple[list[str], list[str]]:
    """Return the transports that can be measured, and a note with the reason for each that cannot."""
    if not has("--transport"):
        return ["grpcio"], ["nghttp2: not measured, `serve` has no --transport"]
    try:
        from ratelimitd.transport import nghttp2  # noqa: F401 -- only tests that the import works
    except ImportError as error:
        return ["grpcio"], [f"nghttp2: not measured, the extension was not built ({error})"]
    return list(TRANSPORTS), []


@contextmanager
def service(
    name: str, policy: str, core: int, env: Mapping[str, str] | None = None, *, files: int = 0
) -> Iterator[Subject]:
    """Run ``ratelimitd serve`` on a core with the transport of this name; raises BenchError if it does not start.

    ``files`` is the bound of its open files, both soft and hard; 0 leaves that of this process.
    The policy is ``policy.yaml`` in the folder of the log; the caller may replace it and send SIGHUP.
    """
    chosen = ["--transport", name] if has("--transport") else []
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        file, log = Path(folder, "policy.yaml"), Path(folder, "log")
        file.write_text(policy)
        local = {f"{part}HOST": "127.0.0.1" for part in ("", "GRPC_", "DEBUG_")}
        local |= {f"{part}PORT": "0" for part in ("", "GRPC_", "DEBUG_")}
        # Many rules are measured, and a user's own processes read the memory and the files of the service in /proc.
        local |= {"POLICY_MAX_BYTES": "24MiB", "CORE_DUMPS": "true"}
        environment = {**bare(), **local, "LOG_FORMAT": "json", "DRAIN_DELAY": "0", **(env or {})}
        bounded = ["prlimit", f"--nofile={files}:{files}"] if files else []
        serve = [sys.executable, "-m", "ratelimitd", "serve", "--config", str(file), *chosen]
        command = pinned(core, [*bounded, *serve])
        with log.open("wb") as stream:
            process = subprocess.Popen(command, env=environment, stderr=stream)
        try:
            record = logged(process, log, "serving")
            yield Subject(name, record["grpc"], process.pid, record["http"], log, record.get("debug", ""))
        finally:
            end(process)


def logged(process: "subprocess.Popen[bytes]", log: Path, message: str) -> dict[str, Any]:
    """Wait for a log line with this message; raises BenchError if the process ends first."""
    record = waited(log, message, lambda: process.poll() is None)
    if record is None:
        raise BenchError(f"the service did not start:\n{log.read_text()}")
    return record


def waited(log: Path, message: str, alive: Any = lambda: True, after: int = 0) -> dict[str, Any] | None:
    """Wait until the log has more than ``after`` lines with this message; return the last of them.

    Returns None if the process ends, or after ``START_SECONDS``.
    """
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        going = alive()
        found = [line for line in log.read_text().splitlines() if f'"{message}"' in line]
        if len(found) > after:
            return dict(json.loads(found[-1]))
        if not going:
            return None
        time.sleep(0.05)
    return None


def end(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a process, and kill it if it still runs after ``STOP_SECONDS``."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def metrics(subject: Subject) -> dict[str, float]:
    """Return the metrics of a service, by name and labels as written."""
    with urllib.request.urlopen(f"http://{subject.http}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^([^#\s]+) (\S+)$", text, re.MULTILINE)}


@contextmanager
def redis_cluster(cores: Cores) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Run a cluster of three masters on the core of Redis; yields their addresses, separated by commas, and pids."""
    with ExitStack() as stack:
        started = [stack.enter_context(redis(cores, "--cluster-enabled", "yes")) for _ in range(3)]
        nodes, pids = zip(*started, strict=True)
        subprocess.run(["redis-cli", "--cluster", "create", *nodes, "--cluster-yes"], check=True, capture_output=True)
        # Each node by itself: a new master rejects commands for up to 2 s after the slots are known.
        until = time.monotonic() + CLUSTER_SECONDS
        while not all("cluster_state:ok" in _cluster_info(node) for node in nodes):
            if time.monotonic() > until:
                raise BenchError(f"the cluster {','.join(nodes)} is not ready after {CLUSTER_SECONDS:g} s")
            time.sleep(0.05)
        yield ",".join(nodes), pids


def _cluster_info(node: str) -> str:
    host, _, port = node.rpartition(":")
    command = ["redis-cli", "-h", host, "-p", port, "CLUSTER", "INFO"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def redis(cores: Cores, *more: str) -> Iterator[tuple[str, int]]:
    """Run a redis-server as docs/operations.md would have it on the core of Redis; yields its host:port and its pid."""
    if shutil.which("redis-server") is None:
        raise BenchError(MISSING.format("redis-server"))
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        log, port = Path(folder, "log"), free_port()
        options = ["--save", "", "--hz", "100", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, *more]
        with log.open("wb") as stream:
            process = subprocess.Popen(pinned(cores.redis, ["redis-server", *options]), stdout=stream)
        try:
            while "eady to accept connections" not in log.read_text():
                if process.poll() is not None:
                    raise BenchError(f"redis-server did not start:\n{log.read_text()}")
                time.sleep(0.01)
            yield f"127.0.0.1:{port}", process.pid
        finally:
            end(process)


def free_port() -> int:
    """Return a free TCP port below 55,000, so that port + 10,000, a cluster's bus port, is also valid."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


@contextmanager
def certificate() -> Iterator[dict[str, str]]:
    """Create a self-signed certificate; yields the settings of a service that uses it."""
    if shutil.which("openssl") is None:
        raise BenchError("openssl is missing: install it to measure TLS")
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        key, cert = f"{folder}/key.pem", f"{folder}/cert.pem"
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command = ["openssl", "req", "-x509", *kind, *names, "-keyout", key, "-out", cert]
        subprocess.run(command, check=True, capture_output=True)
        yield {"GRPC_SERVER_USE_TLS": "true", "GRPC_SERVER_TLS_CERT": cert, "GRPC_SERVER_TLS_KEY": key}
