"""The fallback proxy compared with nginx: throughput, and the cost of limits, counters in Redis and the access log."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.builds import STORE_BUDGET
from bench.load import WARMUP, Web, parse_wrk
from bench.measure import ratio, shown, spreads, thousands
from bench.policy import PLENTY
from bench.report import Report
from testkit import server
from testkit.errors import MISSING, BenchError
from testkit.machine import Cores, cores, cpu_seconds, pinned, rss_bytes

CONNECTIONS: Final = (16, 128)
"""Connections of wrk, with one request in flight on each: few, and so many that requests queue."""

BODY: Final = 1024
"""Size of each response body in bytes."""

PATH: Final = "/api/answer"
KEY: Final = "bench-key"

READY_SECONDS: Final = 10.0
"""Timeout for nginx to listen, which takes it some milliseconds."""

COLUMNS: Final = (
    "proxy", "connections", "requests/s", "CPU µs", "p50 ms", "p99 ms", "MB", "load's core", "requests/s vs nginx",
    "p99 vs nginx",
)  # fmt: skip

NGINX: Final = "nginx"
FULL: Final = "limits in Redis, log"


class Scale(NamedTuple):
    """How much to measure."""

    repeats: int = 3
    seconds: float = 5.0


QUICK: Final = Scale(repeats=1, seconds=2.0)


class Kind(NamedTuple):
    """A configuration of ``ratelimitd proxy``."""

    name: str
    limits: bool
    redis: bool = False
    log: bool = False


KINDS: Final = (
    Kind("no limits", limits=False),
    Kind("limits in memory", limits=True),
    Kind(FULL, limits=True, redis=True, log=True),
)


class Subject(NamedTuple):
    """A running proxy.

    Attributes:
        address: host:port.
        log: its access log, which is truncated after each run; None if it has none.
    """

    name: str
    address: str
    pid: int
    log: Path | None = None


def measure(scale: Scale, command: str) -> Report:
    """Measure nginx and each configuration of ``ratelimitd proxy``, with one upstream, alternately."""
    _check_tools()
    where = cores()
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    notes: list[str] = []
    with ExitStack() as stack:
        subjects = _start(stack, where)
        for _ in range(scale.repeats):
            for connections in CONNECTIONS:
                for subject in subjects:
                    measured = once(subject, connections, scale.seconds, where, notes)
                    found.setdefault((connections, subject.name), []).append(measured)
    data = _data(found, notes)
    rows = [row(each, data) for each in data]
    title = f"A proxy on one core, in front of an upstream that answers with {BODY:,} bytes"
    return Report("proxy", title, COLUMNS, rows, [_about(where, scale), *notes], data, command)


def _about(where: Cores, scale: Scale) -> str:
    return (
        f"proxies on core {where.server}, wrk and the upstream (nginx, a file) on core {where.load}, Redis on core "
        f"{where.redis}; {scale.repeats} repeats of {scale.seconds:g} s, median (least-most); {_nginx_version()}, one "
        "worker, keep-alive on both sides, no access log; ratelimitd: one API key with a token bucket that is never "
        f"empty; the access log is written to a file in memory ({_in_memory()}), or to /dev/null in rows without "
        '"log"; CPU: of the proxy, per request; load\'s core: utilization'
    )


def _data(found: Mapping[tuple[int, str], Sequence[dict[str, float]]], notes: list[str]) -> list[dict[str, Any]]:
    """Return the measurements that may be quoted: those without a failed request."""
    data = []
    for (connections, name), repeats in found.items():
        failed = sum(each["failed"] for each in repeats)
        if failed:
            notes.append(f"{connections} connections, {name}: not quoted, {failed:,.0f} requests failed")
            continue
        numbers = {key: value._asdict() for key, value in spreads(repeats).items()}
        about = {"connections": str(connections), "case": f"{connections} connections", "by": name}
        data.append({**about, **numbers})
    return data


def _check_tools() -> None:
    for tool in ("wrk", "redis-server"):
        if shutil.which(tool) is None:
            raise BenchError(MISSING.format(tool))
    nginx()


def nginx() -> str:
    """Return the path of nginx, which may be in a folder outside PATH; raises BenchError if there is none."""
    program = shutil.which("nginx", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin")))
    if program is None:
        raise BenchError(MISSING.format("nginx"))
    return program


def _nginx_version() -> str:
    said = subprocess.run([nginx(), "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\S+)", said)
    return f"nginx {found[1]}" if found else "nginx"


def _in_memory() -> Path:
    """Return a folder on a memory file system if there is one, so that the disk is not measured."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def _start(stack: ExitStack, where: Cores) -> list[Subject]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench", dir=_in_memory())))
    folder.chmod(0o755)
    (folder / "answer").write_bytes(b"x" * BODY)
    upstream = f"127.0.0.1:{server.free_port()}"
    stack.enter_context(_nginx(folder, "upstream", serve_file(upstream, folder / "answer"), upstream, where.load))
    front = f"127.0.0.1:{server.free_port()}"
    subjects = [stack.enter_context(_nginx(folder, NGINX, pass_on(front, upstream), front, where.server))]
    redis = stack.enter_context(server.redis(where))[0]
    ours = (stack.enter_context(_ours(folder, kind, upstream, redis, where.server)) for kind in KINDS)
    return [*subjects, *ours]


def serve_file(address: str, file: Path) -> str:
    """Return an nginx configuration that answers every request with a file, which it keeps open."""
    return f"""
        open_file_cache max=10;
        server {{
            listen {address};
            location / {{ root {file.parent}; rewrite ^ /{file.name} break; }}
        }}"""


def pass_on(address: str, upstream: str) -> str:
    """Return an nginx configuration for a proxy with persistent connections to the upstream."""
    return f"""
        upstream app {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
        server {{
            listen {address};
            location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
        }}"""


@contextmanager
def _nginx(folder: Path, name: str, http: str, address: str, core: int) -> Iterator[Subject]:
    """Run nginx as one process on a core; raises BenchError if it does not start."""
    own = folder / name
    own.mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {own}/{kind};" for kind in kinds)
    (own / "conf").write_text(
        f"daemon off; master_process off; pid {own}/pid; error_log {own}/log;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; {temporary} {http}\n}}\n"
    )
    command = pinned(core, [nginx(), "-p", str(own), "-e", str(own / "log"), "-c", str(own / "conf")])
    with ended(subprocess.Popen(command)) as process:
        _listening(process, address, own / "log")
        yield Subject(name, address, process.pid)


def _listening(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    host, _, port = address.rpartition(":")
    until = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError), socket.create_connection((host, int(port))):
            return
        time.sleep(0.02)
    raise BenchError(f"nginx did not start:\n{log.read_text() if log.exists() else ''}")


@contextmanager
def _ours(folder: Path, kind: Kind, upstream: str, redis: str, core: int) -> Iterator[Subject]:
    """Run ``ratelimitd proxy`` on a core; raises BenchError if it does not start."""
    own = folder / kind.name.replace(" ", "-").replace(",", "")
    own.mkdir()
    file, log, access = own / "gateway.yaml", own / "log", own / "access"
    file.write_text(gateway(upstream, limits=kind.limits))
    environment = {"PATH": os.environ["PATH"], "LOG_FORMAT": "json", "DRAIN_DELAY": "0", "STORE_BUDGET": STORE_BUDGET}
    environment |= {"LISTEN_ADDR": "127.0.0.1:0", "IDENTITY_SECRET": "of-no-worth"}
    environment |= {"REDIS_URL": redis} if kind.redis else {}
    command = pinned(core, [sys.executable, "-m", "ratelimitd", "proxy", "--config", str(file)])
    with ExitStack() as stack:
        errors = stack.enter_context(log.open("wb"))
        lines = stack.enter_context((access if kind.log else Path(os.devnull)).open("ab"))
        process = stack.enter_context(ended(subprocess.Popen(command, env=environment, stdout=lines, stderr=errors)))
        record = server.logged(process, log, "serving")
        yield Subject(kind.name, record["proxy"], process.pid, access if kind.log else None)


def gateway(upstream: str, *, limits: bool) -> str:
    """Return a gateway file that identifies callers like the default one, with a limit that is never reached."""
    actions = (
        "[{request_headers: {header_name: x-api-key, descriptor_key: api_key, skip_if_absent: true}}, "
        "{remote_address: {}}]"
    )
    rate_limits = f"    rate_limits: [{{actions: {actions}}}]\n" if limits else ""
    return f"""\
upstreams: {{app: {{url: "http://{upstream}"}}}}
routes:
  - match: {{prefix: /api/}}
{rate_limits}policies:
  domain: bench
  identity: {{key: api_key, tiers: {{premium: [{KEY}]}}}}
  descriptors:
    - {{key: api_key, value: premium, rate_limit: {{unit: hour, requests_per_unit: {PLENTY}}}}}
    - {{key: remote_address, rate_limit: {{unit: second, requests_per_unit: 5}}}}
"""


def once(subject: Subject, connections: int, seconds: float, where: Cores, notes: list[str]) -> dict[str, float]:
    """Measure once, after a warm-up run; add a note with the reasons that the access log gives for failed requests."""
    _wrk(subject, connections, WARMUP, where)
    used, others, at = cpu_seconds(subject.pid), busy_seconds(where.load), time.monotonic()
    web = _wrk(subject, connections, seconds, where)
    took, used = time.monotonic() - at, cpu_seconds(subject.pid) - used
    busy = busy_seconds(where.load) - others
    if subject.log is not None:
        _check_log(subject.log, web.requests)
        if web.failed:
            notes.append(f"{subject.name}: failures in the access log: {failures(subject.log)}")
        os.truncate(subject.log, 0)
    return {
        "rate": web.rate,
        "cpu": used / web.requests,
        "p50": web.p50,
        "p99": web.p99,
        "rss": float(rss_bytes(subject.pid)),
        "busy": busy / took,
        "failed": float(web.failed),
    }


def _check_log(log: Path, requests: int) -> None:
    """Check that the log was written: a run without it would look faster than it is."""
    size = log.stat().st_size
    if size < requests * len(PATH):
        raise BenchError(f"the access log has {size} bytes after {requests} requests")


def failures(log: Path) -> dict[str, int]:
    """Count the failed requests of an access log, by status and error."""
    with log.open() as lines:
        records = [json.loads(line) for line in lines if '"status":200' not in line]
    return dict(Counter(f"{record['status']} {record['error'] or record['limit']}".strip() for record in records))


def busy_seconds(core: int) -> float:
    """Return the seconds since boot in which a core was not idle (proc(5), stat: all fields but idle and iowait)."""
    found = re.search(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    if found is None:
        raise BenchError(f"/proc/stat has no core {core}")
    ticks = [int(field) for field in found[1].split()[:8]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _wrk(subject: Subject, connections: int, seconds: float, where: Cores) -> Web:
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-H", f"X-API-Key: {KEY}"]
    command = pinned(where.load, ["wrk", *options, f"http://{subject.address}{PATH}"])
    return parse_wrk(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Terminate a process at the end of the block."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def row(each: Mapping[str, Any], data: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a row of the table, with ratios to nginx with as many connections."""

    cell = partial(shown, each)
    same = [other for other in data if other["connections"] == each["connections"] and other["by"] == NGINX]

    def times(name: str) -> str:
        part = ratio(each[name]["median"], same[0][name]["median"]) if same and same[0] is not each else None
        return f"{part:.2f}" if part else ""

    return [
        each["by"],
        each["connections"],
        cell("rate", 1, thousands),
        cell("cpu", 1e6),
        cell("p50", 1e3),
        cell("p99", 1e3),
        cell("rss", 1 / (1 << 20)),
        cell("busy", 100, lambda value: f"{value:.0f}%"),
        times("rate"),
        times("p99"),
    ]
