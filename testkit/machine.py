"""The machine under the numbers: its shape, which core does what, and what a process used of it."""

import os
import platform
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from testkit.errors import BenchError

TICKS: Final = os.sysconf("SC_CLK_TCK")

LIBRARIES: Final = ("grpcio", "protobuf", "uvloop", "hiredis")
"""Whose versions the numbers depend on most."""


class Cores(NamedTuple):
    """Which core does what. Redis has one of its own where there are three."""

    server: int
    load: int
    redis: int


def cores() -> Cores:
    """Give out the cores this process may use; raises BenchError when there is one alone."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("the server and the load need a core each: give the bench two")
    return Cores(usable[0], usable[1], usable[2] if len(usable) > 2 else usable[1])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """Return the command that runs this one on a core, as the same process."""
    if shutil.which("taskset") is None:
        raise BenchError("taskset is missing: install util-linux")
    return ["taskset", "-c", str(core), *command]


def pin(pid: int, core: int) -> None:
    """Move every thread of a process that runs already to a core; raises BenchError when it is not ours to move."""
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})
    except OSError as error:
        raise BenchError(f"process {pid} cannot be moved to core {core}: {error.strerror}") from error


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process on a core for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads so far (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_bytes(pid: int) -> int:
    """Resident memory of a process (proc(5), field 2 of statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def busy() -> str:
    """Say how much else there is to do, in runnable tasks over the last minute, and whether that has to wait for us."""
    first = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
    return (
        f"{os.getloadavg()[0] / (os.cpu_count() or 1):.1f} tasks a core{', which wait for the bench' if first else ''}"
    )


def shape() -> str:
    """Return cores, CPU, system and versions in a sentence."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = " ".join(found[1].split()) if found else platform.machine()
    versions = [f"{name} {version(name)}" for name in LIBRARIES]
    system = [f"{os.cpu_count()} cores of {model}", f"{platform.system()} {platform.release()}"]
    return ", ".join([*system, f"Python {platform.python_version()}", *versions, *_tools()])


def _tools() -> list[str]:
    """Return the versions of Redis and libnghttp2, where they are installed."""
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
