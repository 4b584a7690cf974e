"""The proxies of the comparison, each on the core of the server, in front of one nginx that serves a file."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from bench.builds import STORE_BUDGET
from bench.peer_proxies import GO, PeerProxy
from bench.policy import PLENTY
from testkit import server
from testkit.environment import bare
from testkit.errors import MISSING, BenchError
from testkit.machine import Cores, pinned

BODY: Final = 1024
"""Size of each response body in bytes."""

KEY: Final = "bench-key"

READY_SECONDS: Final = 10.0
"""Timeout for a proxy to listen, which takes it some milliseconds."""

NGINX: Final = "nginx"
FULL: Final = "limits, log"
REDIS: Final = "limits in Redis, log"


class Kind(NamedTuple):
    """A configuration of ``ratelimitd proxy``."""

    name: str
    limits: bool
    redis: bool = False
    log: bool = False


KINDS: Final = (
    Kind("no limits, no log", limits=False),
    Kind(FULL, limits=True, log=True),
    Kind(REDIS, limits=True, redis=True, log=True),
)
OURS: Final = frozenset(kind.name for kind in KINDS)
NAMES: Final = OURS | {NGINX, GO}


class Subject(NamedTuple):
    """A running proxy.

    Attributes:
        address: host:port.
        log: its access log, which is truncated after each run; None if it has none, or need not have one.
    """

    name: str
    address: str
    pid: int
    log: Path | None = None


def nginx() -> str:
    """Return the path of nginx, which may be in a folder outside PATH; raises BenchError if there is none."""
    program = shutil.which("nginx", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin")))
    if program is None:
        raise BenchError(MISSING.format("nginx"))
    return program


def nginx_version() -> str:
    """Return the name of nginx with its version."""
    said = subprocess.run([nginx(), "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\S+)", said)
    return f"nginx {found[1]}" if found else "nginx"


def in_memory() -> Path:
    """Return a folder on a memory file system if there is one, so that the disk is not measured."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def start(stack: ExitStack, where: Cores, others: Sequence[PeerProxy]) -> list[Subject]:
    """Start the upstream and all proxies: nginx, ours and the others; raises BenchError if one does not start."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench", dir=in_memory())))
    folder.chmod(0o755)
    (folder / "answer").write_bytes(b"x" * BODY)
    upstream = f"127.0.0.1:{server.free_port()}"
    stack.enter_context(_nginx(folder, "upstream", serve_file(upstream, folder / "answer"), upstream, where.load))
    front = f"127.0.0.1:{server.free_port()}"
    subjects = [stack.enter_context(_nginx(folder, NGINX, pass_on(front, upstream), front, where.server))]
    redis = stack.enter_context(server.redis(where))[0]
    subjects += [stack.enter_context(_ours(folder, kind, upstream, redis, where.server)) for kind in KINDS]
    return [*subjects, *(stack.enter_context(_other(folder, each, upstream, where.server)) for each in others)]


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
        _listening(process, name, address, own / "log")
        yield Subject(name, address, process.pid)


def _listening(process: "subprocess.Popen[bytes]", name: str, address: str, log: Path) -> None:
    host, _, port = address.rpartition(":")
    until = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError), socket.create_connection((host, int(port))):
            return
        time.sleep(0.02)
    raise BenchError(f"{name} did not start:\n{log.read_text() if log.exists() else ''}")


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


@contextmanager
def _other(folder: Path, proxy: PeerProxy, upstream: str, core: int) -> Iterator[Subject]:
    """Run another proxy on a core, which writes its log where ours does; raises BenchError if it does not start."""
    log, address = folder / f"{proxy.name}.log".replace("/", "-"), f"127.0.0.1:{server.free_port()}"
    command = pinned(core, proxy.command(address, upstream))
    with log.open("ab") as lines:
        process = subprocess.Popen(command, stdout=lines, stderr=lines, env={**bare(), "HOME": str(folder)})
    with ended(process):
        _listening(process, proxy.name, address, log)
        yield Subject(proxy.name, address, process.pid, log)


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


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Terminate a process at the end of the block."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
