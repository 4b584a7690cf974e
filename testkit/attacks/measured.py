"""One attack, measured: others alone, beside the attack, and alone again, in one run."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from testkit import server
from testkit.environment import bare
from testkit.errors import BenchError
from testkit.machine import Cores, cpu_seconds, on_core, pinned, rss_bytes
from testkit.server import Subject, free_port

from .attacker import Target
from .table import POLICY, Attack
from .victim import Reading, Victim

NICE: Final = 5
"""The attacker's, which shares a core with the others: their lateness is then the service's."""


class Moments(NamedTuple):
    """Seconds of a run: others alone, before and after; the attack before others are measured, and while they are."""

    alone: float = 1.0
    lead: float = 0.5
    beside: float = 2.5


class Found(NamedTuple):
    """What an attack came to.

    Attributes:
        before, beside, after: what others saw.
        seconds: how long the attack lasted.
        sent: bytes that the attacker sent.
        cpu: CPU seconds of the attacker.
        ours: CPU seconds that the service took for the attack: more than it takes for the others alone.
        held: bytes by which the service's memory grew, at most.
        metrics: by how much each metric of the service grew.
    """

    before: Reading
    beside: Reading
    after: Reading
    seconds: float
    sent: int
    cpu: float
    ours: float
    held: int
    metrics: Mapping[str, float]

    @property
    def alone(self) -> Reading:
        """What others saw without the attack."""
        return Reading([*self.before.took, *self.after.took], [*self.before.failed, *self.after.failed])

    @property
    def price(self) -> float:
        """CPU seconds of the service for one of the attacker's."""
        return self.ours / max(self.cpu, 0.001)

    @property
    def ratio(self) -> float:
        """Others' median beside the attack for the larger one of the two without it."""
        return self.beside.p50 / max(self.before.p50, self.after.p50)

    @property
    def noisy(self) -> bool:
        """Whether the machine had other work: others alone were slow, or far slower in one half than in the other."""
        low, high = sorted((self.before.p50, self.after.p50))
        return low > 0.005 or high > 3 * low


def measured(name: str, attack: Attack, moments: Moments, where: Cores) -> Found:
    """Start a service and attack it; raises BenchError if one of them does not start."""
    port = free_port() if attack.port == "Redis" else 0
    env = {**({"REDIS_URL": f"127.0.0.1:{port}"} if port else {}), **attack.env}
    with server.service("nghttp2", POLICY, where.server, env, files=attack.files) as subject, on_core(where.load):
        victim = Victim(subject, attack.victim)
        try:
            return _phases(name, subject, port, victim, moments, where)
        finally:
            victim.close()


def _phases(name: str, subject: Subject, port: int, victim: Victim, moments: Moments, where: Cores) -> Found:
    target = Target(
        subject.address, subject.http, subject.debug, subject.pid, str(subject.log.with_name("policy.yaml")), port
    )
    with _attacker(name, target, where) as process:
        victim.ask(moments.alone / 4)  # imports, caches
        marks = [cpu_seconds(subject.pid)]
        before = victim.ask(moments.alone)
        marks.append(cpu_seconds(subject.pid))
        held = rss_bytes(subject.pid)
        Path(f"/proc/{subject.pid}/clear_refs").write_text("5")  # VmHWM begins anew (proc(5))
        counted = _metrics(subject)
        seconds = moments.lead + moments.beside
        assert process.stdin is not None
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
        victim.ask(moments.lead)
        beside = victim.ask(moments.beside)
        said = json.loads(process.communicate(timeout=60)[0])
        marks.append(cpu_seconds(subject.pid))
        peak = _peak_bytes(subject.pid)
        grown = _metrics(subject)
        after = victim.ask(moments.alone)
    idle = (marks[1] - marks[0]) / moments.alone
    return Found(
        before,
        beside,
        after,
        seconds,
        said["sent"],
        said["cpu"],
        max(0.0, marks[2] - marks[1] - idle * seconds),
        max(0, peak - held),
        {key: value - counted.get(key, 0.0) for key, value in grown.items()},
    )


def _attacker(name: str, target: Target, where: Cores) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "testkit.attacks", name, json.dumps(target._asdict())]
    command = pinned(where.load, ["nice", "-n", str(NICE), *words])
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=bare())
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        process.kill()
        raise BenchError(f"the attacker of {name} did not start")
    return process


def _metrics(subject: Subject) -> dict[str, float]:
    """Return the metrics of a service; none where an attack on their port has left no place."""
    try:
        return server.metrics(subject)
    except OSError:
        return {}


def _peak_bytes(pid: int) -> int:
    """Return the largest resident memory of a process since that began anew (proc(5), VmHWM of status)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10
