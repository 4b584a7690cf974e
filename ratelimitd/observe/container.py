"""The memory that this process may use, and what is left of it: that of its control groups, else of the machine."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")


class _Files(NamedTuple):
    """Files of a version of cgroups, and the lines of memory.stat with what the kernel gives up before it ends any."""

    limit: str
    used: str
    reclaimable: tuple[str, ...]


V2: Final = _Files("memory.max", "memory.current", ("active_file ", "inactive_file ", "slab_reclaimable "))
V1: Final = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file ", "total_inactive_file "))


class _Limited(NamedTuple):
    """A cgroup with a limit, in bytes."""

    folder: Path
    files: _Files
    limit: int


def memory_limit(root: Path = CGROUPS, own: Path = OWN) -> int:
    """Return the bytes that this process may use: the least limit of its cgroup and of those above it (cgroups(7)).

    Args:
        root: where cgroup v2 is mounted, or below which the controller ``memory`` of v1 is.
        own: file that names the cgroups of the process. Inside a container it may have the path of the host, which is
            not mounted there; the container's own cgroup is then the root of the mount.
    """
    return min([_machine(), *[cgroup.limit for cgroup in _limited(root, own)]])


def memory_left(root: Path = CGROUPS, own: Path = OWN) -> int | None:
    """Return the bytes that these cgroups may still take; None if none has a limit and tells what it uses."""
    machine = _machine()
    limited = [cgroup for cgroup in _limited(root, own) if cgroup.limit < machine]
    return min([left for cgroup in limited for left in _left(cgroup)], default=None)


def _machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _limited(root: Path, own: Path) -> Iterator[_Limited]:
    """Yield each cgroup with a limit; "max", which v2 writes for none, is not a number, and v1 writes one of 2^63."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    paths = {
        controllers: path for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1)
    }
    joined = next((path for controllers, path in paths.items() if "memory" in controllers.split(",")), "/")
    for mount, path, files in ((root, paths.get("", "/"), V2), (root / "memory", joined, V1)):
        steps = PurePosixPath(path).relative_to("/")
        for folder in (steps, *steps.parents):
            with suppress(OSError, ValueError):
                yield _Limited(mount / folder, files, int((mount / folder / files.limit).read_text()))


def _left(cgroup: _Limited) -> Iterator[int]:
    """Yield what a cgroup may still take, unless it does not tell what it uses."""
    folder, files, limit = cgroup
    with suppress(OSError, ValueError):
        used = int((folder / files.used).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
        reclaimable = sum(int(line.split()[1]) for line in lines if line.startswith(files.reclaimable))
        yield max(0, limit - used + reclaimable)
