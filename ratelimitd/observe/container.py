"""The memory that this process may use: that of its control groups, else of the machine."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")


def memory_limit(root: Path = CGROUPS, own: Path = OWN) -> int:
    """Return the bytes that this process may use: the least limit of its cgroup and of those above it (cgroups(7)).

    Args:
        root: where cgroup v2 is mounted, or below which the controller ``memory`` of v1 is.
        own: file that names the cgroups of the process. Inside a container it may have the path of the host, which is
            not mounted there; the container's own cgroup is then the root of the mount.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(root, own)])


def _limits(root: Path, own: Path) -> Iterator[int]:
    """Yield each limit; "max", which v2 writes for none, is not a number, and v1 writes one of 2^63."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    paths = {
        controllers: path for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1)
    }
    joined = next((path for controllers, path in paths.items() if "memory" in controllers.split(",")), "/")
    for mount, path, file in (
        (root, paths.get("", "/"), "memory.max"),
        (root / "memory", joined, "memory.limit_in_bytes"),
    ):
        steps = PurePosixPath(path).relative_to("/")
        for folder in (steps, *steps.parents):
            with suppress(OSError, ValueError):
                yield int((mount / folder / file).read_text())
