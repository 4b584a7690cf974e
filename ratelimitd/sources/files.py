"""The files of a policy, by the rules of envoyproxy/ratelimit's runtime folders or by explicit path."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ratelimitd.net.files import read_regular, stamp, without_null
from ratelimitd.policy import PolicyError, PolicyErrors

from .pushed import Pushed
from .walk import Entry, walk

if TYPE_CHECKING:
    from ratelimitd.policy_file import Beside, Content

BYTES_DEFAULT: Final = 4 << 20
"""Default of POLICY_MAX_BYTES, the maximum total size of the policy files."""

BYTES_MOST: Final = 24 << 20
"""Largest value of that setting: 16 MiB take a core 40 s to parse, and five times that if it is shared by others."""

TOO_LARGE: Final = "the policy files together exceed {} bytes: raise POLICY_MAX_BYTES, and the memory of the container"

FILES_REMEMBERED: Final = 4_096
"""Files whose references to other files are cached: more than a folder of policies contains."""


class RuntimeFolder(NamedTuple):
    """The RUNTIME_* settings of envoyproxy/ratelimit.

    Attributes:
        root: RUNTIME_ROOT.
        subdirectory: RUNTIME_SUBDIRECTORY, "" for none.
        appdirectory: RUNTIME_APPDIRECTORY.
        watch_root: RUNTIME_WATCH_ROOT. True: all files below root/subdirectory whose runtime key begins with
            ``appdirectory.``. False: all files below root/subdirectory/appdirectory.
        ignore_dotfiles: RUNTIME_IGNOREDOTFILES.
    """

    root: str
    subdirectory: str = ""
    appdirectory: str = "config"
    watch_root: bool = True
    ignore_dotfiles: bool = False

    @property
    def folder(self) -> Path:
        """Folder whose files are read."""
        return _below(self.root, self.subdirectory, "" if self.watch_root else self.appdirectory)

    @property
    def prefix(self) -> str:
        """Beginning of the runtime keys that are read."""
        return f"{self.appdirectory.strip('/')}." if self.watch_root else ""


class Paths(NamedTuple):
    """Files and folders by explicit path. Of a folder, all files below it are read, except dot files."""

    paths: tuple[str, ...]


class GatewayFile(NamedTuple):
    """A gateway file. Its ``policies`` are inline or in the file or folder that it names.

    Attributes:
        made_of: what a temporary file was made of, which is then named instead; empty for a file of the operator.
    """

    path: str
    made_of: str = ""


GATEWAY_ALGORITHM: Final = "token_bucket"
"""Default algorithm of the limits in a gateway file: users of a gateway send requests in bursts."""

Source = RuntimeFolder | Paths | GatewayFile
"""All of them are files. That no file is left is no answer: it happens while a folder is replaced, too."""


class PolicyFile(NamedTuple):
    """A file: its name in errors (runtime key or path), and its path."""

    name: str
    path: Path


_POLICIES_KEY: Final = re.compile(rb"^[\"']?policies[\"']?\s*:", re.MULTILINE)
"""A top-level key that a gateway file has and a policy file does not."""


def named(paths: tuple[str, ...]) -> Source:
    """Return the source of explicit paths: GatewayFile for a single gateway file, else Paths."""
    if len(paths) == 1:
        try:
            if _POLICIES_KEY.search(read_file(paths[0])):
                return GatewayFile(paths[0])
        except OSError:
            pass  # reading the source reports the error
    return Paths(paths)


Signature = tuple[tuple[object, ...], ...]
"""A value that changes when a file of the source is written, added, removed, replaced or made unreadable."""


def describe(source: Source | Pushed) -> str:
    """Return the location of a source, with symbolic links resolved."""
    if isinstance(source, Pushed):
        return f"control plane {source.server}"
    if isinstance(source, GatewayFile):
        return source.made_of or os.path.realpath(source.path)
    if isinstance(source, Paths):
        return ", ".join(os.path.realpath(path) for path in source.paths)
    return os.path.realpath(source.folder)


def list_files(source: Source) -> list[PolicyFile]:
    """List the files of a source, by name. Raises OSError if a folder or named file does not exist."""
    if isinstance(source, GatewayFile):
        return _gateway_files(source)
    if isinstance(source, Paths):
        return [file for path in source.paths for file in _named(path)]
    return sorted(PolicyFile(key, path) for key, (path, why) in _runtime(source) if not why)


def skipped(source: Source) -> list[PolicyError]:
    """List the entries of a source's folders that are not read, with the reason; empty if a folder is missing.

    envoyproxy/ratelimit reads the rest of a folder too, so one of them does not cost the policy. A file that cannot be
    read is an error instead: a policy without one of its files would limit less than it says.
    """
    try:
        return sorted(_skipped(source))
    except OSError:
        return []


def _skipped(source: Source) -> Iterator[PolicyError]:
    if isinstance(source, RuntimeFolder):
        yield from (PolicyError(key, 0, why) for key, (_, why) in _runtime(source) if why)
        return
    if isinstance(source, GatewayFile):
        named = _policies_of(Path(source.path))
        paths: tuple[str, ...] = (named,) if named else ()
    else:
        paths = source.paths
    entries = (entry for path in paths if _is_folder(path) for entry in walk(Path(path), dots=False))
    yield from (PolicyError(str(path), 0, why) for path, why in entries if why)


def read_file(path: str | Path) -> bytes:
    """Read one file of a source. Raises OSError, also for a file larger than any total size can be."""
    return _content(path, BYTES_MOST, BYTES_MOST)


def read_files(
    source: Source, on_content: Callable[[bytes], object] = lambda _: None, most: int = BYTES_MOST
) -> "list[tuple[str, Content]]":
    """Read all files of a source to (name, content), at most ``most`` bytes.

    ``on_content`` receives each content as read, in the order of the files. Raises PolicyErrors with all files that
    cannot be read.
    """
    try:
        files = list_files(source)
    except OSError as error:
        raise PolicyErrors([_unreadable(str(error.filename), error)]) from None
    errors: list[PolicyError] = []
    contents: list[tuple[str, bytes]] = []
    left = most
    for file in files:
        try:
            content = _content(file.path, left, most)
        except OSError as error:
            errors.append(_unreadable(file.name, error))
            continue
        left -= len(content)
        on_content(content)
        contents.append((file.name, content))
    if errors:
        raise PolicyErrors(errors)
    if isinstance(source, GatewayFile):
        (name, content), *others = contents
        from .gateway_file import inline_policies  # noqa: PLC0415 -- only this kind of source needs YAML

        return [*inline_policies(name, content), *others]
    return list(contents)


def tiers_beside(source: Source) -> "Beside":
    """Return a function that reads the ``tiers_file`` of a policy file of this source, relative to that file."""

    def read(file: str, named: str) -> tuple[str, bytes]:
        files = list_files(source)
        policy = next((path for name, path in files if name == file), None)
        if policy is None or named not in _tiers_files(policy, _stamp(policy)):
            raise OSError(0, "write its name after 'tiers_file:' on the same line, or changes to it are not detected")
        path = policy.parent / named
        listed = {os.path.realpath(path): name for name, path in files}
        return listed.get(os.path.realpath(path), str(path)), read_file(path)

    return read


def signature(source: Source | Pushed, overlay: str = "") -> Signature:
    """Return the state of a source, of the files that it references, and of an overlay. Never raises.

    A file is read only to find its references, and only if it has changed.
    """
    stamps: list[tuple[object, ...]] = [(overlay, *_stamp(Path(overlay)))] if overlay else []
    if isinstance(source, Pushed):
        return tuple(stamps)
    try:
        files = list_files(source)
    except OSError as error:
        return (*stamps, (error.errno,))
    for name, path in files:
        found = _stamp(path)
        stamps.append((name, *found))
        stamps.extend((named, *_stamp(path.parent / named)) for named in _tiers_files(path, found))
    if isinstance(source, GatewayFile):
        path = Path(source.path)
        _, authorities = _gateway_names(path, _stamp(path))
        stamps.extend((named, *_stamp(path.parent / named)) for named in authorities)
    return tuple(stamps)


_TIERS_FILE: Final = re.compile(
    rb"""tiers_file["']?[ \t]*:[ \t]+(?:"([^"\\\n]+)"|'([^'\n]+)'|([^\s"'#{}\[\],][^\n#{}\[\],]*))"""
)
"""Finds the name without parsing YAML, which is slow. A name that it does not find is reported as an error."""


SEARCHED: Final = 1 << 18
"""Bytes of a file that are searched at once: a search keeps other threads, and so the event loop, from running. 9 MB of
100,000 rules take 4 to 9 ms."""

NAME_BYTES: Final = 1 << 13
"""A search goes on for so long, to the end of its last name: twice the longest path of Linux (PATH_MAX)."""


@lru_cache(maxsize=FILES_REMEMBERED)
def _tiers_files(path: Path, _stamp: tuple[object, ...]) -> tuple[str, ...]:
    """Return the tiers files that a policy file appears to name, including names in comments."""
    try:
        content = read_file(path)
    except OSError:
        return ()
    return tuple(name.decode(errors="surrogateescape") for name in _tiers_names(content))


def _tiers_names(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), SEARCHED):
        for found in _TIERS_FILE.finditer(content, start, start + SEARCHED + NAME_BYTES):
            if found.start() < start + SEARCHED:
                yield b"".join(found.groups(b"")).strip()


def _gateway_files(source: GatewayFile) -> list[PolicyFile]:
    """Return the gateway file and the policy files that it names."""
    path = Path(source.path)
    policies = _policies_of(path)
    return [PolicyFile(source.made_of or str(path), path), *(_named(policies) if policies else ())]


def _policies_of(path: Path) -> str:
    """Return the path of the policies that a gateway file names; empty if they are inline."""
    named, _ = _gateway_names(path, _stamp(path))
    return str(path.parent / named) if named else ""


@lru_cache(maxsize=FILES_REMEMBERED)
def _gateway_names(path: Path, _stamp: tuple[object, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the names of the policies and of the files of authorities in a gateway file, as written."""
    from .gateway_file import named_files  # noqa: PLC0415 -- only this kind of source needs YAML

    try:
        return named_files(read_file(path))
    except OSError:
        return "", ()


def _stamp(path: Path) -> tuple[object, ...]:
    try:
        return stamp(path)
    except OSError as error:
        return (error.errno,)


def _named(path: str) -> list[PolicyFile]:
    if not _is_folder(path):
        return [PolicyFile(path, Path(path))]
    entries = walk(Path(path), dots=False)
    return sorted(PolicyFile(str(entry.path), entry.path) for entry in entries if not entry.skipped)


def _is_folder(path: str) -> bool:
    return stat.S_ISDIR(without_null(path).stat().st_mode)


def _runtime(source: RuntimeFolder) -> Iterator[tuple[str, Entry]]:
    """Yield the entries with the source's prefix, by runtime key; folders that cannot have any are not entered."""
    folder, prefix = source.folder, source.prefix
    start = len(os.path.join(folder, ""))  # noqa: PTH118 -- with the separator, which a Path drops

    def wanted(path: str) -> bool:
        key = _dotted(f"{path[start:]}/")
        return key.startswith(prefix) or prefix.startswith(key)

    for entry in walk(folder, dots=not source.ignore_dotfiles, wanted=wanted):
        key = _dotted(str(entry.path.relative_to(folder)))
        if entry.skipped or key.startswith(prefix):
            yield key, entry


def _dotted(path: str) -> str:
    return path.replace(os.sep, ".")


def _below(*parts: str) -> Path:
    """Join paths as Go's filepath.Join: a leading slash of a later part does not leave the first part."""
    return Path(os.path.normpath("/".join(filter(None, parts))))


def _content(path: str | Path, left: int, most: int) -> bytes:
    try:
        return read_regular(path, left)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise OSError(errno.EFBIG, TOO_LARGE.format(most)) from None
        raise


def _unreadable(name: str, error: OSError) -> PolicyError:
    return PolicyError(name, 0, f"cannot be read: {error.strerror}")
