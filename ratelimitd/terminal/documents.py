"""Fields of the documents of ``/live/``: whatever a server sends, a field is absent or of its type."""

import math
from collections.abc import Mapping
from typing import Any, Final

from ratelimitd.printable import printable

Document = Mapping[str, Any]

VERSION: Final = 1
"""Version of the documents that this program reads (docs/live.md)."""

TEXT_MOST: Final = 1000
"""Characters of a text that are shown: more than the widest terminal has columns, and few enough to measure."""


def text(document: Document, *path: str) -> str:
    """Return a field as text that steers no terminal; "" if absent."""
    value = _at(document, path)
    return shown(value) if isinstance(value, str) else ""


def number(document: Document, *path: str) -> float | None:
    """Return a field as a finite number; None if absent."""
    value = _at(document, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def part(document: Document, *path: str) -> Document:
    """Return an object within the document; {} if absent."""
    value = _at(document, path)
    return value if isinstance(value, dict) else {}


def parts(document: Document, *path: str) -> list[Document]:
    """Return the objects of a list; [] if absent."""
    value = _at(document, path)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(document: Document, *path: str) -> list[str]:
    """Return the texts of a list; [] if absent."""
    value = _at(document, path)
    return [shown(each) for each in value if isinstance(each, str)] if isinstance(value, list) else []


def numbers(document: Document, *path: str) -> list[float]:
    """Return the numbers of a list, 0 for anything else in it; [] if absent."""
    value = _at(document, path)
    return [number({"": each}, "") or 0.0 for each in value] if isinstance(value, list) else []


def shown(value: str) -> str:
    """Return the beginning of a text, with what would steer a terminal escaped."""
    return printable(value[:TEXT_MOST])


def _at(document: Document, path: tuple[str, ...]) -> Any:
    found: Any = document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
