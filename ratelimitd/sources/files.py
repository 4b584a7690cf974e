"""Which files make up the policy, by the rules of envoyproxy/ratelimit's runtime folders or as named by hand."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ratelimitd.net.files import read_regular, stamp
from ratelimitd.policy import PolicyError, PolicyErrors

if TYPE_CHECKING:
    from ratelimitd.policy_file import Beside, Content

BYTES_MAX: Final = 24 << 20
"""All policy files together: 100,000 rules take 10 MB, and the child that parses them 40 times their size."""

FILES_REMEMBERED: Final = 4_096
"""Files of which is remembered what others they name: more than a folder of policies has."""

KUBERNETES: Final = ".."
"""Start of the names that Kubernetes keeps in a mounted ConfigMap beside the files: copies, never a policy."""


class RuntimeFolder(NamedTuple):
    """The RUNTIME_* settings of envoyproxy/ratelimit.

    Attributes:
        root: RUNTIME_ROOT.
        subdirectory: RUNTIME_SUBDIRECTORY, "" for none.
        appdirectory: RUNTIME_APPDIRECTORY.
        watch_root: RUNTIME_WATCH_ROOT. True: everything below root/subdirectory whose name, as a runtime key,
            begins with ``appdirectory.``. False: everything below root/subdirectory/appdirectory.
        ignore_dotfiles: RUNTIME_IGNOREDOTFILES.
    """

    root: str
    subdirectory: str = ""
    appdirectory: str = "config"
    watch_root: bool = True
    ignore_dotfiles: bool = False

    @property
    def folder(self) -> Path:
        """The folder whose files are read."""
        folder = Path(self.root) / self.subdirectory
        return folder if self.watch_root else folder / self.appdirectory


class Paths(NamedTuple):
    """Files and folders named by hand; of a folder all files below it count, but dot files."""

    paths: tuple[str, ...]


class GatewayFile(NamedTuple):
    """A gateway file, whose ``policies`` are in it or in the file or folder that it names."""

    path: str


GATEWAY_ALGORITHM: Final = "token_bucket"
"""Algorithm of a gateway file's limits that name none: people in front of a gateway click in bursts."""

Source = RuntimeFolder | Paths | GatewayFile


class PolicyFile(NamedTuple):
    """One file: what errors call it (its runtime key, or its path), and where it is."""

    name: str
    path: Path


_POLICIES_KEY: Final = re.compile(rb"^[\"']?policies[\"']?\s*:", re.MULTILINE)
"""What a gateway file has at its top and a policy file has not."""


def named(paths: tuple[str, ...]) -> Source:
    """Return what paths given by hand are: a lone gateway file is one, and all else holds policies."""
    if len(paths) == 1:
        try:
            if _POLICIES_KEY.search(read_file(paths[0])):
                return GatewayFile(paths[0])
        except OSError:
            pass  # whoever reads it says so
    return Paths(paths)


Signature = tuple[tuple[object, ...], ...]
"""Changes when a file that counts is written, added, removed, swapped or made unreadable."""


def describe(source: Source) -> str:
    """Say where a source looks, with symbolic links followed."""
    if isinstance(source, GatewayFile):
        return os.path.realpath(source.path)
    if isinstance(source, Paths):
        return ", ".join(os.path.realpath(path) for path in source.paths)
    return os.path.realpath(source.folder)


def list_files(source: Source) -> list[PolicyFile]:
    """List the files of a source, by name. Raises OSError when a folder or named file is not there."""
    if isinstance(source, GatewayFile):
        return _gateway_files(Path(source.path))
    if isinstance(source, Paths):
        return [file for path in source.paths for file in _named(path)]
    folder = source.folder
    files = [PolicyFile(_runtime_key(folder, path), path) for path in _walk(folder, dots=not source.ignore_dotfiles)]
    prefix = f"{source.appdirectory}." if source.watch_root else ""
    return sorted(file for file in files if file.name.startswith(prefix))


def read_file(path: str | Path) -> bytes:
    """Read one file of a source by itself. Raises OSError, also for a file that is longer than all may be together."""
    return _content(path, BYTES_MAX)


def read_files(source: Source, seen: Callable[[bytes], object] = lambda _: None) -> "list[tuple[str, Content]]":
    """Read every file of a source to (name, content). Raises PolicyErrors for what cannot be read.

    ``seen`` is given each content as it was read, in the order of the files.
    """
    try:
        files = list_files(source)
    except OSError as error:
        raise PolicyErrors([_unreadable(str(error.filename), error)]) from None
    errors: list[PolicyError] = []
    contents: list[tuple[str, bytes]] = []
    left = BYTES_MAX
    for file in files:
        try:
            content = _content(file.path, left)
        except OSError as error:
            errors.append(_unreadable(file.name, error))
            continue
        left -= len(content)
        seen(content)
        contents.append((file.name, content))
    if errors:
        raise PolicyErrors(errors)
    if isinstance(source, GatewayFile):
        (name, content), *others = contents
        from .gateway_file import inline_policies  # noqa: PLC0415  YAML, for this kind of source alone

        return [*inline_policies(name, content), *others]
    return list(contents)


def tiers_beside(source: Source) -> "Beside":
    """Return what reads the ``tiers_file`` of a policy file of this source, relative to that file."""

    def read(file: str, named: str) -> tuple[str, bytes]:
        files = list_files(source)
        policy = next((path for name, path in files if name == file), None)
        if policy is None or named not in _tiers_files(policy, _stamp(policy)):
            raise OSError(0, "write its name after 'tiers_file:' on the same line, or changes to it are not detected")
        path = policy.parent / named
        listed = {os.path.realpath(path): name for name, path in files}
        return listed.get(os.path.realpath(path), str(path)), read_file(path)

    return read


def signature(source: Source) -> Signature:
    """Tell one state of a source, and of the files it names, from another; raises nothing.

    A file is read only to see what it names, and only when it has changed.
    """
    try:
        files = list_files(source)
    except OSError as error:
        return ((error.errno,),)
    stamps: list[tuple[object, ...]] = []
    for name, path in files:
        found = _stamp(path)
        stamps.append((name, *found))
        stamps.extend((named, *_stamp(path.parent / named)) for named in _tiers_files(path, found))
    return tuple(stamps)


_TIERS_FILE: Final = re.compile(
    rb"""tiers_file["']?[ \t]*:[ \t]+(?:"([^"\\\n]+)"|'([^'\n]+)'|([^\s"'#{}\[\],][^\n#{}\[\],]*))"""
)
"""Finds the name without reading YAML, which takes long. What it does not find is an error of the file."""


@lru_cache(maxsize=FILES_REMEMBERED)
def _tiers_files(path: Path, _stamp: tuple[object, ...]) -> tuple[str, ...]:
    """Return the files of tiers that a policy file seems to name, one in a comment too."""
    try:
        content = read_file(path)
    except OSError:
        return ()
    found = (b"".join(groups).strip() for groups in _TIERS_FILE.findall(content))
    return tuple(name.decode(errors="surrogateescape") for name in found)


def _gateway_files(path: Path) -> list[PolicyFile]:
    """Return the gateway file, and those of the policy it names."""
    named = _policies_path(path, _stamp(path))
    return [PolicyFile(str(path), path), *(_named(str(path.parent / named)) if named else ())]


@lru_cache(maxsize=FILES_REMEMBERED)
def _policies_path(path: Path, _stamp: tuple[object, ...]) -> str:
    from .gateway_file import policies_path  # noqa: PLC0415  YAML, for this kind of source alone

    try:
        return policies_path(read_file(path))
    except OSError:
        return ""


def _stamp(path: Path) -> tuple[object, ...]:
    try:
        return stamp(path)
    except OSError as error:
        return (error.errno,)


def _named(path: str) -> list[PolicyFile]:
    given = Path(path)
    if not stat.S_ISDIR(given.stat().st_mode):
        return [PolicyFile(path, given)]
    return sorted(PolicyFile(str(file), file) for file in _walk(given, dots=False))


def _walk(folder: Path, *, dots: bool) -> Iterator[Path]:
    """Yield the files below a folder. Links to files count; links to folders do not, or nothing would end."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("." if not dots else KUBERNETES):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), dots=dots)
            elif not entry.is_dir():
                yield Path(entry.path)


def _runtime_key(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder)).replace(os.sep, ".")


def _content(path: str | Path, left: int) -> bytes:
    try:
        return read_regular(path, left)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise OSError(errno.EFBIG, f"the policy files together exceed {BYTES_MAX >> 20} MiB") from None
        raise


def _unreadable(name: str, error: OSError) -> PolicyError:
    return PolicyError(name, 0, f"cannot be read: {error.strerror}")
