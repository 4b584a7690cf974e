"""The commit that the package was built from: a record beside the sources, which setup.py writes into what it builds.

An editable installation has no record, which the next edit would make wrong. This module imports nothing of the
package: setup.py runs it by its path.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

RECORD: Final = "commit.txt"
"""The record's name in the folder of the package."""

VARIABLE: Final = "RATELIMITD_COMMIT"
"""Variable of a build that has no repository, as in a Dockerfile: the commit that it is of."""

DIRTY: Final = "+dirty"
"""Suffix: files differed from those of the commit."""

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}(\+dirty)?")


def recorded(package: Path) -> str:
    """Return the commit of the record, or an empty text if there is none."""
    try:
        return (package / RECORD).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def to_record(root: Path, environ: Mapping[str, str]) -> str:
    """Return the commit of a build of the sources below ``root``, or an empty text.

    It is that of the variable, of the repository, or of the record that an sdist has. Raises ValueError if the variable
    is set to something else.
    """
    given = environ.get(VARIABLE, "")
    if given and not _COMMIT.fullmatch(given):
        raise ValueError(f"{VARIABLE} is not a commit: {given!r}; write its hash, such as `git rev-parse HEAD` prints")
    return given or of_tree(root) or recorded(root / "ratelimitd")


def of_tree(root: Path) -> str:
    """Return the commit of a repository whose top is ``root``, with ``+dirty`` after changes; empty without one.

    Another repository that the folder lies in, such as that of a project with its virtual environment, is not asked.
    """
    head = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    if not head:
        return ""
    # A new file of the package is built into it; elsewhere builds and their user leave files.
    changed = ("--untracked-files=no",), ("--untracked-files=normal", "--", "ratelimitd")
    return head + ("" if all(_git(root, "status", "--porcelain", *each) == "" for each in changed) else DIRTY)


def _git(root: Path, *arguments: str) -> str | None:
    """Return the output of git, or None if it fails or is missing."""
    import subprocess  # noqa: PLC0415 -- takes longer to import than the record to read

    # With its folder named, git searches no other, and reads the clone of another user, as a container mounts it.
    # Hooks of another repository set GIT_DIR and GIT_INDEX_FILE.
    command = ["git", f"--git-dir={root}/.git", f"--work-tree={root}", "--no-optional-locks", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 -- no text of others
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
