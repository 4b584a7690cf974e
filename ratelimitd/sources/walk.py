"""The entries below a folder of policies: files to read, and what is left out, with the reason."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

KUBERNETES: Final = ".."
"""Prefix of the names that Kubernetes adds to a mounted ConfigMap: copies of the files, never policies."""

NOT_REGULAR: Final = "not read, since it is no regular file but a socket, a pipe or a device: remove it from the folder"


class Entry(NamedTuple):
    """An entry below a folder. ``skipped``: why it is not read; empty for a file."""

    path: Path
    skipped: str = ""


def walk(folder: str | Path, *, dots: bool, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Entry]:
    """Yield the entries below a folder. Links to files are followed; links to folders are not, as they may be cyclic.

    ``wanted`` tells by its path which entry to look at. Raises OSError if the folder itself cannot be entered.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("." if not dots else KUBERNETES) or not wanted(entry.path):
                continue
            if entry.is_dir(follow_symlinks=False):
                try:
                    yield from walk(entry.path, dots=dots, wanted=wanted)
                except OSError as error:
                    yield Entry(Path(entry.path), f"not read, since the folder cannot be entered: {error.strerror}")
            elif (kind := _kind(entry)) != stat.S_IFDIR:
                yield Entry(Path(entry.path), "" if kind == stat.S_IFREG else NOT_REGULAR)


def _kind(entry: os.DirEntry[str]) -> int:
    """Return the type of a file, links followed; "regular" if it cannot be found out, since reading tells why."""
    try:
        return stat.S_IFREG if entry.is_file() else stat.S_IFMT(entry.stat().st_mode)
    except OSError:
        return stat.S_IFREG
