"""Text of a file that is ignored: found in its YAML, before any of it is interpreted."""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ratelimitd.config.yaml_nodes import YamlList, YamlMap, YamlNode, YamlScalar, is_null, resolve
from ratelimitd.policy_file import KEY_PLACES, LEVELS, PLACES, TOP, Document, Origin

from .rules import Findings, finding

SHOWN_MAX: Final = 200
"""Characters of a key in a message."""

_MARKER: Final = re.compile(rb"^(?:---|\.\.\.)(?=\s|$)", re.MULTILINE)
"""A document marker: no content may begin with it, at the beginning of a line."""
_NO_CONTENT: Final = re.compile(rb"(?:%.*|(?:---)?\s*(?:#.*)?)$", re.DOTALL)

_UNQUOTED: Final = "identity"
"""Below this key nothing is quoted: a misplaced value may be an API key."""
_TIERS: Final = "tiers"
"""Of equal tiers all apply."""

_MODES: Final = frozenset(("shadow_mode", "quota_mode"))
_OF_LIMITS: Final = ("shadow_mode", "quota_mode", "detailed_metric")
"""Keys of a descriptor that have no effect on those below it."""
_LIMIT_LEVELS: Final = ("rate_limit", "rate_limits")


def second_documents(texts: Mapping[str, bytes]) -> Findings:
    """Find the second document of each file."""
    for file, text in texts.items():
        if _MARKER.search(text):
            line = _second_document(text.removeprefix(codecs.BOM_UTF8).split(b"\n"))
            if line:
                yield finding("second-document", Origin(file, line))


def _second_document(lines: Sequence[bytes]) -> int:
    """Return the line of the first marker with content before and after it; 0 for none."""
    content = [number for number, line in enumerate(lines, 1) if not _NO_CONTENT.match(line)]
    for number in range(content[0] + 1, content[-1] + 1) if content else ():
        marker = _MARKER.match(lines[number - 1])
        if marker and (number < content[-1] or not _NO_CONTENT.match(lines[number - 1], marker.end())):
            return number
    return 0


def repeated_keys(document: Document) -> Findings:
    """Find keys that a later one of the same map overrides."""
    pending: list[tuple[YamlNode, bool]] = [(document.node, False)]
    seen: set[int] = set()
    while pending:
        node, secret = pending.pop()
        if isinstance(node, YamlScalar) or id(node) in seen:
            continue
        seen.add(id(node))  # an alias is the same node again
        if isinstance(node, YamlList):
            pending.extend((item, secret) for item in node.items)
            continue
        for key, again in node.repeated:
            shown = "a key of 'identity'" if secret else f"'{key.text[:SHOWN_MAX]}'"
            yield finding("key-twice", Origin(document.file, key.line), key=shown, again=again.line)
        for key_node, value in node.pairs:
            if not isinstance(value, YamlScalar):
                key_text = key_node.text if isinstance(key_node, YamlScalar) else ""
                if not (secret and key_text == _TIERS):
                    pending.append((value, secret or key_text == _UNQUOTED))


def check_maps(document: Document) -> Findings:
    """Find what is wrong in each map of a policy that is read."""
    for level, node, fields in _maps(document.node):
        if not fields.keys() <= LEVELS[level].keys():
            yield from _misplaced(document.file, level, node)
        if level == "descriptors":
            if _absent(fields, "rate_limit") and _absent(fields, "rate_limits"):
                yield from _without_limit(document.file, fields)
        elif level in _LIMIT_LEVELS and _says_no_amount(fields):
            yield finding("denies-all", Origin(document.file, node.line))


def _says_no_amount(fields: Mapping[str, YamlNode]) -> bool:
    if _is_true(fields.get("unlimited")):
        return False
    return _absent(fields, "requests_per_unit") and _absent(fields, "concurrent")


def _misplaced(file: str, level: str, node: YamlMap) -> Findings:
    """Find keys of upstream's at a level where upstream ignores them, and so do we."""
    for key, value in node.pairs:
        if isinstance(key, YamlScalar) and key.text not in LEVELS[level]:
            enforced = key.text in _MODES and level in _LIMIT_LEVELS and _is_true(value)
            yield finding(
                "misplaced-key",
                Origin(file, key.line),
                key=key.text,
                here=PLACES[level],
                so=": the limit is enforced" if enforced else "",
                there=KEY_PLACES[key.text],
            )


def _without_limit(file: str, fields: Mapping[str, YamlNode]) -> Findings:
    """Find options of a descriptor without limits that apply only to its own limits."""
    for key in _OF_LIMITS:
        value = fields.get(key)
        if value is not None and _is_true(value):
            yield finding("option-without-limit", Origin(file, value.line), key=key)


def _absent(fields: Mapping[str, YamlNode], key: str) -> bool:
    value = fields.get(key)
    return value is None or is_null(value)


def _is_true(node: YamlNode | None) -> bool:
    return isinstance(node, YamlScalar) and resolve(node) is True


_BELOW: Final[Mapping[str, tuple[str, ...]]] = {
    TOP: ("descriptors",),
    "descriptors": ("descriptors", "rate_limit", "rate_limits"),
    "rate_limit": ("replaces",),
    "rate_limits": ("replaces",),
    "replaces": (),
}
"""The levels below each level; those whose reader accepts any key are omitted."""


def _maps(root: YamlNode) -> Iterator[tuple[str, YamlMap, dict[str, YamlNode]]]:
    """Yield every map that is read, with its level and its values by key."""
    pending = [(TOP, root)]
    seen: set[int] = set()
    while pending:
        level, node = pending.pop()
        if isinstance(node, YamlList):
            pending.extend((level, item) for item in node.items)
        elif isinstance(node, YamlMap) and id(node) not in seen:
            seen.add(id(node))
            fields = {key.text: value for key, value in node.pairs if isinstance(key, YamlScalar)}
            yield level, node, fields
            pending.extend((below, fields[below]) for below in _BELOW[level] if below in fields)
