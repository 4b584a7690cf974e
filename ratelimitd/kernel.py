"""What a process asks of the kernel for itself. A system without such a request is asked nothing."""

import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

PR_SET_DUMPABLE: Final = 4
"""Of linux/prctl.h."""

CGROUP: Final = Path("/sys/fs/cgroup")
"""Of a container its own cgroup, if the host has cgroup v2."""

RECLAIMABLE: Final = ("active_file ", "inactive_file ", "slab_reclaimable ")
"""Lines of memory.stat: what the kernel gives up before it ends a process."""

OOM_SCORE_ADJ: Final = Path("/proc/self/oom_score_adj")

ENDED_FIRST: Final = "1000"
"""The most (proc(5)): the process is ended before every other one of its container. Raising it needs no privilege."""


def forbid_dumps() -> None:
    """Keep secrets in memory out of core dumps, and from other processes of the same user.

    The limit alone is not enough: the kernel ignores it for a dump that goes to a program (core(5)). A process that is
    not dumpable cannot be traced, and others of its user do not read its environment and memory in /proc either.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 -- 0.2 MiB, which only this needs

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(*map(ctypes.c_ulong, (PR_SET_DUMPABLE, 0, 0, 0, 0)))


def dumps_forbidden() -> bool:
    """Whether this process, or the one that started it, may leave no core dump."""
    return resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


def bound_memory(most: int) -> None:
    """Bound the private memory of this process, in bytes; beyond it an allocation fails.

    RLIMIT_DATA counts what is written (Linux 4.7); RLIMIT_AS would count reserved addresses and shared libraries too.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def memory_left(cgroup: Path = CGROUP) -> int | None:
    """Return the bytes of memory that this container may still take; None if it has no bound that can be read."""
    try:
        most = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    reclaimable = sum(int(line.split()[1]) for line in lines if line.startswith(RECLAIMABLE))
    return max(0, int(most) - used + reclaimable) if most.isdecimal() else None


def memory_of(pid: int) -> int:
    """Return the private memory of a process, in bytes, as its bound counts it; 0 if it cannot be read (proc(5))."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[5]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def be_ended_first() -> None:
    """Ask to be the process that is ended when the memory of the container is used up."""
    with suppress(OSError):
        OOM_SCORE_ADJ.write_text(ENDED_FIRST)
