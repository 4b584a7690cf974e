"""What a document of another replica must have to be merged: its software may be another, or it may be no replica."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from .history import NAMES
from .merging import BREAKER, STEP

VERSION: Final = 1
"""Of the documents. Fields may be added to a version; what is removed or changed makes another."""

MOST: Final = 1 << 62
"""Largest number that is taken: sums of such stay numbers of JSON."""

Shape = Callable[[Any, str], str]
"""Returns which field of a value is not as it should be, "" if none is; it is called with the value's name."""


def _kind(well: Callable[[Any], bool], value: Any, where: str) -> str:
    return "" if well(value) else f"'{where}' is not of its type"


def _maybe(shape: Shape) -> Shape:
    return lambda value, where: "" if value is None else shape(value, where)


def _every(shape: Shape) -> Shape:
    def fault_of(value: Any, where: str) -> str:
        if not isinstance(value, list):
            return f"'{where}' is no list"
        return next(filter(None, (shape(each, where) for each in value)), "")

    return fault_of


def _fields(**shapes: Shape) -> Shape:
    def fault_of(value: Any, where: str) -> str:
        if not isinstance(value, dict):
            return f"'{where}' is no object"
        lacking = next((name for name in shapes if name not in value), None)
        if lacking is not None:
            return f"'{where}' has no '{lacking}'"
        return next(filter(None, (shape(value[name], name) for name, shape in shapes.items())), "")

    return fault_of


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) <= MOST


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and abs(value) <= MOST  # neither NaN nor infinity is


_INTEGER: Final = partial(_kind, _is_integer)
_NUMBER: Final = partial(_kind, _is_number)
_TEXT: Final = partial(_kind, lambda value: isinstance(value, str))
_BOOL: Final = partial(_kind, lambda value: isinstance(value, bool))
_INTEGERS: Final = partial(_kind, lambda value: isinstance(value, list) and all(map(_is_integer, value)))

_RATES: Final = _fields(**dict.fromkeys(NAMES, _NUMBER))
_TOTALS: Final = dict.fromkeys(NAMES, _INTEGER)
_STEPS: Final = dict.fromkeys(NAMES, _INTEGERS)
_END: Final = partial(_kind, lambda value: _is_integer(value) and value % STEP == 0)
_HISTORY: Final = {"step": partial(_kind, lambda value: value == STEP), "end": _END, **_STEPS}
_HITS: Final = _fields(hits=_INTEGER, denied=_INTEGER)
_DENIALS: Final = _every(_fields(time=_NUMBER, id=_TEXT, key=_TEXT))
_KEY: Final = _fields(
    key=_TEXT,
    descriptor=_maybe(_TEXT),
    minute=_HITS,
    ten_minutes=_HITS,
    hour=_HITS,
    error=_INTEGER,
    used=_maybe(_NUMBER),
    remaining=_maybe(_NUMBER),
    reset_after=_maybe(_NUMBER),
    seen=_NUMBER,
)
_ROW: Final = _fields(
    id=_TEXT,
    name=_TEXT,
    summary=_TEXT,
    algorithm=_maybe(_TEXT),
    mode=_TEXT,
    on_store_failure=_TEXT,
    unlimited=_BOOL,
    unit=_maybe(_TEXT),
    requests_per_unit=_maybe(_NUMBER),
    unit_multiplier=_maybe(_NUMBER),
    window_seconds=_maybe(_NUMBER),
    burst=_maybe(_NUMBER),
    where=_maybe(_fields()),
    rates=_RATES,
    totals=_fields(**_TOTALS),
    active_keys=_maybe(_INTEGER),
    use=_maybe(_NUMBER),
    spark=_maybe(_fields(step=_INTEGER, allowed=_INTEGERS, denied=_INTEGERS)),
)
_COMPONENTS: Final = _every(_fields(component=_TEXT, reason=_TEXT))
_TEXTS: Final = _every(_TEXT)

SHAPES: Final[Mapping[str, Mapping[str, Shape]]] = {
    "overview": {
        "replica": _fields(id=_TEXT, name=_TEXT),
        "authorized": _BOOL,
        "keys": _TEXT,
        "rates": _RATES,
        "decisions": _fields(ok=_NUMBER, over_limit=_NUMBER, failed=_NUMBER),
        "totals": _fields(**_TOTALS),
        "last": _fields(end=_END, **_TOTALS),
        "store": _fields(
            kind=_TEXT,
            state=_TEXT,
            text=_TEXT,
            breaker=partial(_kind, lambda value: value in BREAKER),
            keys=_maybe(_INTEGER),
            bytes=_maybe(_INTEGER),
            max_bytes=_maybe(_INTEGER),
        ),
        "policy": _fields(version=_TEXT, warnings=_TEXTS, refused=_TEXTS),
        "health": _fields(healthy=_BOOL, ready=_BOOL, failing=_COMPONENTS, notes=_COMPONENTS),
        "live": _fields(max_bytes=_INTEGER, bytes=_INTEGER, limits=_INTEGER, keys=_INTEGER, gap=_INTEGER),
    },
    "history": _HISTORY,
    "limits": {"total": _INTEGER, "limits": _every(_ROW)},
    "limit": {
        "limit": _ROW,
        "history": _maybe(_fields(**_HISTORY)),
        "keys": _every(_KEY),
        "keys_error": _fields(share=_NUMBER, text=_TEXT),
        "denials": _DENIALS,
    },
    "denials": {"denials": _DENIALS},
}
"""The fields that ``merged`` reads, of each kind of document; other fields are passed on, or left out."""


def fault(kind: str, document: object) -> str:
    """Return why this is no document of the kind that can be merged, "" if it can."""
    if not isinstance(document, dict):
        return "it is no object"
    if (version := document.get("version")) != VERSION:
        return f"it has version {str(version)[:9]} of the documents, and this replica knows version {VERSION}"
    return _fields(time=_NUMBER, **SHAPES[kind])(document, kind)
