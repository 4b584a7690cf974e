"""Whether the modules that mypyc compiled are imported, or their sources; decided before the first of them is.

setup.py compiles the modules that pyproject.toml lists and writes a record: for which Python, and a hash of each source
that a compiled module was made from. That includes sources that are not compiled, since mypyc takes constants and types
from what a module imports. Where the record does not fit, each module is imported from its source. This module imports
nothing of the package: setup.py runs it by its path.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import source_hash, spec_from_file_location
from pathlib import Path
from typing import Final, NamedTuple

RECORD: Final = "compiled.txt"
"""The record's name in the folder of the package."""

PURE: Final = "RATELIMITD_PURE"
"""Variable that has every module imported from its source."""

OFF: Final = frozenset({"", "0", "f", "F", "false", "False", "FALSE"})
"""Its values without effect, as of other settings; settings reject what is no bool."""

COMPILED: Final = "compiled"

SHARED: Final = "__mypyc"
"""Suffix of the library that all compiled modules share; it lies beside the package."""


class Source(NamedTuple):
    """A line of the record: hash and path of a source below the package, and whether it was compiled."""

    compiled: bool
    hash: str
    path: str


def build(package: Path, environ: Mapping[str, str]) -> str:
    """Choose the build that later imports of the package find, and return it with the reason."""
    reason = interpreted(package, environ)
    if not reason:
        return COMPILED
    sys.meta_path.insert(0, _Sources())
    return f"interpreted: {reason}"


def interpreted(package: Path, environ: Mapping[str, str]) -> str:
    """Return why the sources are to be imported, or an empty text."""
    if environ.get(PURE, "") not in OFF:
        return PURE
    suffix, sources = read(package)
    if not sources:
        return "not built"
    if suffix != EXTENSION_SUFFIXES[0]:
        return "built for another Python"
    changed = next((source.path for source in sources if hash_of(package / source.path) != source.hash), None)
    if changed is not None:
        return f"stale build, {changed} changed"
    modules = ((package / source.path).with_suffix("") for source in sources if source.compiled)
    built = all(os.path.exists(f"{path}{suffix}") for path in (*modules, f"{package}{SHARED}"))  # noqa: PTH110 -- time
    return "" if built else "incomplete build"


def read(package: Path) -> tuple[str, list[Source]]:
    """Read the record: the suffix of the extensions and the sources; none if there is no record, or half of one."""
    try:
        suffix, *lines = (package / RECORD).read_text(encoding="utf-8").splitlines()
        rows = [line.split(" ", 2) for line in lines]
        return suffix, [Source(kind == COMPILED, digest, path) for kind, digest, path in rows]
    except (OSError, ValueError):
        return "", []


def record(package: Path, compiled: Iterable[str], sources: Iterable[str]) -> str:
    """Return the record of a build of these sources, as they are now: it is made before the build reads them.

    ``sources`` are paths below the package, and ``compiled`` some of them.
    """
    chosen = frozenset(compiled)
    lines = (f"{COMPILED if path in chosen else 'read'} {hash_of(package / path)} {path}" for path in sorted(sources))
    return "\n".join((EXTENSION_SUFFIXES[0], *lines, ""))


def hash_of(path: Path) -> str:
    """Return the hash that Python has for sources in .pyc files, or an empty text if there is no such file."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 -- half the time of Path.read_bytes
            return source_hash(file.read()).hex()
    except OSError:
        return ""


class _Sources:
    """Finds the source of a module of the package, also where an extension lies beside it."""

    def find_spec(self, name: str, path: Iterable[str] | None = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002 -- importlib's
        package, _, module = name.rpartition(".")
        if package.partition(".")[0] != __package__:
            return None
        files = (os.path.join(folder, f"{module}.py") for folder in path or ())  # noqa: PTH118 -- for each import
        found = next(filter(os.path.isfile, files), None)
        return None if found is None else spec_from_file_location(name, found)
