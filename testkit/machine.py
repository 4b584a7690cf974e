"""The machine of a measurement: its cores and versions, CPU affinity, and the CPU and memory use of processes."""

import os
import platform
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from testkit.errors import BenchError

TICKS: Final = os.sysconf("SC_CLK_TCK")

LIBRARIES: Final = ("grpcio", "protobuf", "uvloop", "hiredis")
"""The libraries whose versions affect the measurements most."""


class Cores(NamedTuple):
    """The core of each process. Redis has its own core if there are at least three."""

    server: int
    load: int
    redis: int


def cores() -> Cores:
    """Assign the cores that this process may use; raises BenchError if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("the server and the load need a core each: give the bench two")
    return Cores(usable[0], usable[1], usable[2] if len(usable) > 2 else usable[1])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """Return a command that runs this command on a core, in the same process."""
    if shutil.which("taskset") is None:
        raise BenchError("taskset is missing: install util-linux")
    return ["taskset", "-c", str(core), *command]


def pin(pid: int, core: int) -> None:
    """Move every thread of a running process to a core; raises BenchError if that is not permitted."""
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})
    except OSError as error:
        raise BenchError(f"process {pid} cannot be moved to core {core}: {error.strerror}") from error


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process on a core for the duration of the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """Return user and system time in seconds of all threads of a process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Scheduled(NamedTuple):
    """Seconds that the threads of a process ran, and that they waited for a core while they were ready to run."""

    ran: float
    waited: float


def scheduled(pid: int) -> Scheduled:
    """Return the sums over all threads of a process (the kernel's sched-stats, fields 1 and 2 of schedstat)."""
    ran = waited = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it ended
            fields = (task / "schedstat").read_text().split()
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
    return Scheduled(ran / 1e9, waited / 1e9)


def busy_seconds(core: int) -> float:
    """Return the seconds since boot in which a core was not idle (proc(5), stat: all fields but idle and iowait)."""
    found = re.search(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    if found is None:
        raise BenchError(f"/proc/stat has no core {core}")
    ticks = [int(field) for field in found[1].split()[:8]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICKS


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes (proc(5), field 2 of statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def busy() -> str:
    """Return the load average of the last minute, and whether the bench has priority over the other work."""
    first = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
    per_core = os.getloadavg()[0] / (os.cpu_count() or 1)
    return f"{per_core:.1f} tasks per core{', which wait for the bench' if first else ''}"


def shape() -> str:
    """Return cores, CPU, system and versions as one line."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = " ".join(found[1].split()) if found else platform.machine()
    versions = [f"{name} {version(name)}" for name in LIBRARIES]
    system = [f"{os.cpu_count()} cores of {model}", f"{platform.system()} {platform.release()}"]
    return ", ".join([*system, f"Python {platform.python_version()}", *versions, *_tools()])


def _tools() -> list[str]:
    """Return the versions of Redis and libnghttp2 that are installed."""
    said = []
    for command, pattern, name in (
        (("redis-server", "--version"), r"v=(\S+)", "Redis"),
        (("pkg-config", "--modversion", "libnghttp2"), r"(\S+)", "libnghttp2"),
    ):
        if shutil.which(command[0]) is not None:
            text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            found = re.search(pattern, text)
            said += [f"{name} {found[1]}"] if found else []
    return said
