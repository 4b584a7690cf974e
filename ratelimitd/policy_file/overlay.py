"""Overlay files: what is said of the limits of a policy by another hand than the one that writes the policy."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import SECOND, RateError, make_rate
from ratelimitd.config.file_kinds import OVERLAY, FileKind, kind_of
from ratelimitd.config.problems import Notes, PolicyErrors
from ratelimitd.config.readers import (
    Keys,
    ListReader,
    MapFound,
    MapReader,
    WrongValueError,
    as_name,
    as_value,
    scalar,
)
from ratelimitd.config.yaml_nodes import YamlError, YamlMap, YamlNode, YamlScalar, is_null, load_yaml
from ratelimitd.policy import Charging, OnStoreFailure

from .fields import LEVELS, TOP, read_fields
from .holds import read_reserve
from .path_patterns import Element, Glob, Path, element, glob, path_of
from .queues import read_queue

OF_DOMAIN: Final[Keys] = {key: LEVELS[TOP][key] for key in ("default_algorithm", "default_charge")}
"""Keys of a domain that an overlay may set, with the readers of the policy file."""

OF_LIMIT: Final[Keys] = {
    key: LEVELS["rate_limits"][key] for key in ("algorithm", "burst", "charge", "reserve", "queue", "on_store_failure")
}
"""The same of a limit."""

ENTRIES_MAX: Final = 100
"""Entries of an overlay: each may be compared with each descriptor, in 1 to 2 µs. So 100 for all domains add 5 to 10 s
to the load of 50,000 descriptors, which may take 300 and has a tenth of a core that others use."""

LEVELS_MAX: Final = 64
"""Elements of a path: a request has 64 entries in a descriptor at most (MAX_ENTRIES)."""

INSTEAD: Final[Mapping[FileKind, str]] = {
    FileKind.EMPTY: f"the file is empty: write '{OVERLAY}:' and a list of entries below it",
    FileKind.MANIFEST: "this is a Kubernetes manifest: write what is below a key of its 'data' to a file of its own",
    FileKind.GATEWAY: "this is a gateway file, not an overlay: run `ratelimitd proxy` with it",
    FileKind.POLICY: "this is a policy, not an overlay: give it with --config, or leave it to the control plane",
}
"""What to do with a file of another kind."""


class OverlayEntry(NamedTuple):
    """An entry of an overlay.

    Attributes:
        domain: the domains that it is for.
        path: the descriptors whose limits it is for; None: all of these domains.
        said: values by key, of ``OF_DOMAIN`` and ``OF_LIMIT``.
    """

    line: int
    domain: Glob
    path: Path | None
    said: Mapping[str, Any]


class Overlay(NamedTuple):
    """A valid overlay, and its file."""

    file: str
    text: bytes
    entries: tuple[OverlayEntry, ...]


def read_overlay(file: str, text: bytes) -> Overlay:
    """Read an overlay. Raises PolicyErrors with all its errors."""
    notes = Notes()
    notes.file = file
    try:
        node = load_yaml(text) or YamlMap([], 1)
    except YamlError as error:
        notes.error(error.line, f"not valid YAML: {error}")
        raise PolicyErrors(notes.errors) from None
    instead = INSTEAD.get(kind_of(node))
    if instead is not None:
        notes.error(node.line, instead)
        raise PolicyErrors(notes.errors)
    entries = FILE(notes, node).get(OVERLAY, ())
    if len(entries) > ENTRIES_MAX:
        last = entries[ENTRIES_MAX].line
        notes.error(last, f"more than {ENTRIES_MAX} entries: let one entry be for several domains or paths, by '*'")
    if notes.errors:
        raise PolicyErrors(sorted(notes.errors, key=lambda error: error.line))
    return Overlay(file, text, entries)


def said_in_words(entry: OverlayEntry) -> dict[str, str]:
    """Return what an entry says, by key, as it is written in the file."""
    return {key: _written(value) for key, value in entry.said.items()}


def _written(value: object) -> str:
    if isinstance(value, YamlMap):
        pairs = [(key, each) for key, each in value.pairs if isinstance(key, YamlScalar)]
        written = ", ".join(f"{key.text}: {each.text}" for key, each in pairs if isinstance(each, YamlScalar))
        return f"{{{written}}}"
    return value.name.lower() if isinstance(value, Charging | OnStoreFailure) else str(value)


def _text(node: YamlNode, wanted: str, checked: Callable[[str], str]) -> str:
    written = scalar(node, wanted)
    if is_null(node) or not written.text:
        raise WrongValueError(wanted)
    return checked(written.text)


def domain_glob(_notes: Notes, node: YamlNode) -> Glob:
    """Read the domains of an entry. Raises WrongValueError."""
    return glob(_text(node, 'a domain, or "*" for all', as_name))


def _element(_notes: Notes, node: YamlNode) -> Element:
    """Read an element of a path. Raises WrongValueError."""
    found = element(_text(node, 'KEY, "KEY=VALUE" or "**", in which * is any text', as_value))
    if not found.key.text:
        raise WrongValueError('KEY, "KEY=VALUE" or "**": a key comes before =, and "*" is any')
    return found


_ELEMENTS: Final = ListReader(_element, least=1)


def path_reader(notes: Notes, node: YamlNode) -> Path:
    """Read the path of an entry. Raises WrongValueError."""
    found = _ELEMENTS(notes, node)
    if len(found) > LEVELS_MAX:
        raise WrongValueError(f"a list of at most {LEVELS_MAX} elements")
    return path_of(found)


def _entry(found: MapFound) -> OverlayEntry:
    """Make an entry, and record what can never apply."""
    fields = found.fields
    said = {key: fields[key] for key in (*OF_DOMAIN, *OF_LIMIT) if key in fields}
    if found.sound:
        _check(found, said)
    return OverlayEntry(found.node.line, fields.get("domain", glob("")), fields.get("path"), said)


def _check(found: MapFound, said: Mapping[str, Any]) -> None:
    if not said:
        found.error(f"says nothing: write one of {', '.join((*OF_LIMIT, *OF_DOMAIN))}")
    of_domain = next((key for key in OF_DOMAIN if key in said), None)
    if of_domain is not None and "path" in found.fields:
        instead = of_domain.removeprefix("default_")
        found.error(f"has a 'path', and '{of_domain}' is for a whole domain: write '{instead}', or remove the path")
    if "algorithm" in said and "burst" in said:
        try:
            make_rate(said["algorithm"], max(1, said["burst"]), SECOND, said["burst"] or None)
        except RateError as error:
            found.error(f"contradicts itself: {error}")
    read_reserve(found.notes, dict(said), None, read_fields)
    read_queue(found.notes, dict(said), None, read_fields)


ENTRY: Final = MapReader(
    f"an entry of '{OVERLAY}'",
    {"domain": domain_glob, "path": path_reader, **OF_DOMAIN, **OF_LIMIT},
    needed=("domain",),
    make=_entry,
    null_is_absent=False,
)

FILE: Final = MapReader("an overlay", {OVERLAY: ListReader(ENTRY)}, needed=(OVERLAY,), null_is_absent=False)
