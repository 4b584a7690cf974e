"""Parser of mapping files, which have the form of statsd_exporter's. It reports all errors at once."""

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final

import re2

from ratelimitd.config.problems import Notes, PolicyErrors
from ratelimitd.config.readers import (
    Keys,
    ListReader,
    MapFound,
    MapReader,
    Reader,
    WrongValueError,
    any_text,
    as_it_is,
    flag,
    text,
)
from ratelimitd.config.yaml_nodes import YamlError, YamlMap, YamlNode, YamlScalar, load_yaml, resolve

from .model import DEFAULT_BUCKETS, DEFAULT_HELP, MapperFile, Mapping

_REFERENCE: Final = r"\$\{?[0-9]++\}?"  # possessive: the digits are read in one way alone
_GLOB: Final = re.compile(r"(\*|[a-zA-Z_](-?[a-zA-Z0-9_])*)(\.\*|\.[a-zA-Z0-9_](-?[a-zA-Z0-9_])*)*", re.ASCII)
_NAME: Final = re.compile(rf"([a-zA-Z_]|{_REFERENCE})([a-zA-Z0-9_]|{_REFERENCE})*", re.ASCII)
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]+", re.ASCII)


def read_mapper(file: str, data: bytes) -> MapperFile:
    """Read a mapping file. Raises PolicyErrors with all errors, each with its line."""
    notes = Notes()
    notes.file = file
    try:
        node = load_yaml(data)
    except YamlError as error:
        notes.error(error.line, str(error))
        raise PolicyErrors(notes.errors) from None
    if node is None:
        notes.error(0, "empty; write 'mappings:' and a list")
        raise PolicyErrors(notes.errors)
    made: MapperFile = _FILE(notes, node)
    if notes.errors:
        raise PolicyErrors(notes.errors)
    return made


def _one_of(names: dict[str, Any]) -> Reader:
    def read(_notes: Notes, node: YamlNode) -> Any:
        if not isinstance(node, YamlScalar) or node.text not in names:
            raise WrongValueError(f"{' or '.join(names)}")
        return names[node.text]

    return read


def _number(_notes: Notes, node: YamlNode) -> float:
    value = resolve(node) if isinstance(node, YamlScalar) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValueError("a number")
    return float(value)


def _buckets(notes: Notes, node: YamlNode) -> tuple[float, ...]:
    bounds = ListReader(_number)(notes, node)
    if any(after <= before for before, after in pairwise(bounds)):
        raise WrongValueError("a list of numbers, each larger than the one before it")
    return bounds


def _labels(notes: Notes, node: YamlNode) -> tuple[tuple[str, str], ...]:
    if not isinstance(node, YamlMap):
        raise WrongValueError("a map of labels")
    found: dict[str, str] = {}
    for key, value in node.pairs:
        name = key.text if isinstance(key, YamlScalar) else ""
        if not _LABEL.fullmatch(name):
            notes.error(key.line, f"'{name}' is no label; write two or more letters, digits and underscores")
        elif not isinstance(value, YamlScalar):
            notes.error(value.line, f"the value of label '{name}' must be a text")
        else:
            found[name] = value.text
    return tuple(sorted(found.items()))


_OBSERVER: Final = _one_of({"histogram": True, "summary": False})
_HISTOGRAM_OPTIONS: Final = MapReader(
    "histogram_options",
    {
        "buckets": _buckets,
        "native_histogram_bucket_factor": as_it_is,
        "native_histogram_max_buckets": as_it_is,
    },
)

_SHARED: Final[Keys] = {
    "observer_type": _OBSERVER,
    "timer_type": _OBSERVER,
    "buckets": _buckets,
    "histogram_options": _HISTOGRAM_OPTIONS,
    "match_type": _one_of({"glob": True, "regex": False}),
    "quantiles": as_it_is,
    "summary_options": as_it_is,
    "ttl": as_it_is,
}
"""Keys of ``defaults`` and of a mapping. The last three are read and have no effect."""


def _mapping(found: MapFound) -> MapFound:
    """Check what the other keys of a mapping do not decide; its defaults are known when the whole file is read."""
    name = found.fields.get("name", "")
    if name and not _NAME.fullmatch(name):
        found.error(f"has the name '{name}'; write letters, digits, underscores and references such as $1")
    return found


_MAPPING: Final = MapReader(
    "a mapping",
    {
        "match": text,
        "name": text,
        "labels": _labels,
        "action": _one_of({"map": False, "drop": True}),
        "match_metric_type": _one_of(
            {"counter": "counter", "gauge": "gauge", "observer": "observer", "timer": "observer"}
        ),
        "scale": _number,
        "help": any_text,
        "honor_labels": flag,
        **_SHARED,
    },
    needed=("match", "name"),
    make=_mapping,
)


def _file(found: MapFound) -> MapperFile:
    defaults = _options(found.fields.get("defaults", {}), {})
    mappings = [_made(each, defaults) for each in found.fields.get("mappings", ())]
    if not _fit([each.match for each in mappings if not each.glob]):
        found.error("has regular expressions that are too large together for RE2; write fewer, or smaller repetitions")
    return MapperFile(tuple(mappings), Mapping("", "", histogram=defaults["histogram"], buckets=defaults["buckets"]))


def _options(fields: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return what a mapping says of matching and of histograms, else what the defaults say."""
    histogram = fields.get("observer_type", fields.get("timer_type"))
    buckets = fields.get("histogram_options", {}).get("buckets") or fields.get("buckets")
    return {
        "glob": fields.get("match_type", defaults.get("glob", True)),
        "histogram": defaults.get("histogram", False) if histogram is None else histogram,
        "buckets": buckets or defaults.get("buckets", DEFAULT_BUCKETS),
    }


def _made(found: MapFound, defaults: dict[str, Any]) -> Mapping:
    fields = found.fields
    made = Mapping(
        fields.get("match", ""),
        fields.get("name", ""),
        **_options(fields, defaults),
        labels=fields.get("labels", ()),
        drop=fields.get("action", False),
        kind=fields.get("match_metric_type"),
        scale=fields.get("scale"),
        help=" ".join(fields.get("help", DEFAULT_HELP).split()),
    )
    if made.glob and made.match and not _GLOB.fullmatch(made.match):
        found.error(f"has the match '{made.match}', which is no glob; * stands for a whole part between dots")
    if not made.glob and (wrong := _wrong(made.match)):
        found.error(f"has the match '{made.match}', which is not valid in RE2: {wrong}")
    return made


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _wrong(pattern: str) -> str:
    try:
        re2.compile(pattern, _quiet())
    except re2.error as error:
        reason = error.args[0] if error.args else "it is too large"
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return ""


def _fit(patterns: Sequence[str]) -> bool:
    """Whether one pass over a name can search all of them, as ``Matcher`` does; one that is wrong has its own error."""
    every = re2.Set.SearchSet(_quiet())
    with suppress(re2.error):
        for pattern in patterns:
            every.Add(pattern)
    try:
        every.Compile()
    except re2.error:
        return not patterns
    return True


_FILE: Final = MapReader(
    "a mapping file",
    {
        "defaults": MapReader("'defaults'", {**_SHARED, "glob_disable_ordering": as_it_is}),
        "mappings": ListReader(_MAPPING),
    },
    make=_file,
)
