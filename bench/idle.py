"""The idle sidecar: memory and startup cost of a service that has not decided a request yet."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import peer_services
from bench.builds import Build, builds, compiled_bytes
from bench.cases import STORES
from bench.measure import shown, spreads
from bench.peer_services import Peer, Startable
from bench.policy import policy
from bench.report import Report
from testkit import server
from testkit.machine import TICKS, Cores, cores, cpu_seconds, rss_bytes

COLUMNS: Final = ("counters", "served by", "MiB", "own MiB", "CPU s", "CPU s of child", "ready after s")
MIB: Final = 1 << 20


class Scale(NamedTuple):
    """Number of starts, and seconds from readiness until memory is read."""

    repeats: int = 5
    settle: float = 3.0


QUICK: Final = Scale(repeats=2, settle=1.0)


def measure(scale: Scale, peers: Sequence[Peer], command: str) -> Report:
    """Start the service repeatedly; measure the time and CPU until it is ready, and its memory after that."""
    where = cores()
    chosen, notes = builds()
    data: list[dict[str, Any]] = []
    with server.redis(where) as (redis, _):
        for store, env in (("in memory", {}), ("in Redis", {"REDIS_URL": redis})):
            for build in chosen:
                repeats = [_started(build, env, scale, where.server) for _ in range(scale.repeats)]
                data.append(_named(store, build.name, repeats))
    data += [
        _named(f"in {STORES[each.store]}", each.name, of_peer(each, scale, where)) for each in peers if _has_pid(each)
    ]
    return Report(
        "idle",
        "The idle sidecar: memory and start-up",
        COLUMNS,
        [_row(each) for each in data],
        [
            f"a policy of one limit, on core {where.server}; {scale.repeats} starts, median (least-most)",
            "MiB: resident memory, including library pages shared with other processes; own: memory not shared (USS)",
            "CPU: user and system time until it answers; its child process parses the policy and exits",
            *(["a peer has answered the calls that test its policy"] if peers else []),
            f"the compiled modules have {compiled_bytes() / MIB:.1f} MiB in files",
            *notes,
        ],
        data,
        command,
    )


def _started(build: Build, env: Mapping[str, str], scale: Scale, core: int) -> dict[str, float]:
    began = time.monotonic()
    with server.service(build.transport, policy(), core, {**build.env, **env}) as subject:
        ready = time.monotonic() - began
        cpu, child = cpu_seconds(subject.pid), _childrens_seconds(subject.pid)
        time.sleep(scale.settle)  # until memory of the startup is freed, and the first timers have fired
        return {**_held(subject.pid), "cpu": cpu, "child": child, "ready": ready}


def _has_pid(peer: Peer) -> bool:
    return isinstance(peer, Startable) or bool(peer.pid)


def of_peer(peer: Peer, scale: Scale, where: Cores) -> list[dict[str, float]]:
    """Measure a peer as ours, from its command; of one that runs already, the memory that it has."""
    repeats = []
    for _ in range(scale.repeats if isinstance(peer, Startable) else 1):
        with peer_services.started([peer], where) as (subject,):
            cpu = {"cpu": cpu_seconds(subject.pid)} if isinstance(peer, Startable) else {}
            time.sleep(scale.settle if cpu else 0.0)
            repeats.append({**_held(subject.pid), **cpu})
    return repeats


def _held(pid: int) -> dict[str, float]:
    return {"resident": rss_bytes(pid) / MIB, "own": _own_bytes(pid) / MIB}


def _own_bytes(pid: int) -> int:
    """Return the bytes of memory that a process does not share (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def _childrens_seconds(pid: int) -> float:
    """Return user and system time of the exited children of a process (proc(5), fields 16 and 17 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


def _named(store: str, name: str, repeats: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {"store": store, "by": name, **{key: value._asdict() for key, value in spreads(repeats).items()}}


def _row(each: dict[str, Any]) -> list[str]:
    cells = (shown(each, name, 1) if name in each else "" for name in ("resident", "own", "cpu", "child", "ready"))
    return [each["store"], each["by"], *cells]
