"""Which process listens on a TCP port, from proc(5)."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")

LISTENING: Final = "0A"
"""State in /proc/net/tcp (TCP_LISTEN of the kernel's net/tcp_states.h)."""


def owner(port: int, proc: Path = PROC) -> str:
    """Return the process, such as ``ratelimitd proxy (pid 12)``; "" if it is another user's, or without /proc."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port, proc)}
    for process in sorted(proc.glob("[0-9]*")):
        with suppress(OSError):
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                return f"{_name(process)} (pid {process.name})"
    return ""


def _inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("net/tcp", "net/tcp6"):
        with suppress(OSError):
            for line in (proc / table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == LISTENING and int(local.rpartition(":")[2], 16) == port:
                    yield rest[5]


def _name(process: Path) -> str:
    """Return the name of a process, and of a ratelimitd its command; further arguments may be secret."""
    words = (process / "cmdline").read_text(errors="replace").split("\0")
    for word, command in pairwise(words[:10]):
        if Path(word).name == "ratelimitd":
            return f"ratelimitd {command}" if re.fullmatch("[a-z]+", command) else "ratelimitd"
    return (process / "comm").read_text(errors="replace").strip()
