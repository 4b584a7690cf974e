"""The queries of the live view: each parameter by name, and an error that says what to write."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from ratelimitd.descriptor_text import encode, parse
from ratelimitd.limiter import Selection
from ratelimitd.live import SORTS, LimitsQuery

LIMITS_MOST: Final = 200
"""Limits of one document: more than a table shows at once; see ``sent.DOCUMENT_BYTES``."""

DENIALS_MOST: Final = 500
"""All that are remembered."""

OFFSET_MOST: Final = 1_000_000
"""More limits than a policy has (POLICY_MAX_BYTES)."""

SEARCH_MOST: Final = 200
"""Characters: the length of the longest names."""

LINES: Final = 100
LINES_MOST: Final = 1_000
"""Decisions a second with the token, see ``decisions.LINES_MOST``; without it ``LINES``."""


CHANGES: Final = ("requests_per_unit", "unit", "unit_multiplier", "algorithm", "burst")
"""The parameters of /live/what-if that are not as configured, with the names of the policy file."""


class Watched(NamedTuple):
    """What a reader of decisions wants: those of a selection, only those that are not OK, so many a second."""

    selection: Selection = Selection()
    denied: bool = False
    lines: int = LINES


class DenialsQuery(NamedTuple):
    """Recent denials: those of one limit, or of all; at most so many."""

    id: str = ""
    limit: int = 100


Reader = Callable[[str], Any]
"""Reads the value of a parameter; raises ValueError."""

Read = Mapping[str, Any]


def limits_query(raw: str) -> LimitsQuery:
    """Read the query of /live/limits; raises ValueError."""
    given = _read(raw, LIMITS, "/live/limits?search=TEXT&sort=denied&order=desc&limit=100&offset=0")
    sort = given.get("sort", "denied")
    descending = given.get("order", "asc" if sort == "name" else "desc") == "desc"
    return LimitsQuery(given.get("search", ""), sort, descending, given.get("limit", 100), given.get("offset", 0))


def limit_query(raw: str) -> str:
    """Read the query of /live/limit, the id of a limit; raises ValueError."""
    how = "/live/limit?id=ID, with an id of /live/limits"
    given = _read(raw, {"id": _id}, how)
    if "id" not in given:
        raise ValueError(f"id is missing: write {how}")
    return str(given["id"])


def _all(value: str) -> bool:
    if value != "1":
        raise ValueError("all is 1: write all=1, or leave it out")
    return True


def what_if_query(raw: str) -> tuple[str, dict[str, str], bool]:
    """Read the query of /live/what-if; raises ValueError.

    Returns the id of a limit, the text of its changes, and whether the hits of all replicas are replayed.
    """
    how = f"/live/what-if?id=ID, with an id of /live/limits, and changes of {', '.join(CHANGES)}"
    given = _read(raw, {"id": _id, "all": _all, **dict.fromkeys(CHANGES, str)}, how)
    if "id" not in given:
        raise ValueError(f"id is missing: write {how}")
    of_all = bool(given.pop("all", False))
    return str(given.pop("id")), given, of_all


def events_query(raw: str) -> str:
    """Read the query of /live/events, the id of a limit or ""; raises ValueError."""
    return str(_read(raw, {"id": _id}, "/live/events?id=ID; id is optional").get("id", ""))


def denials_query(raw: str) -> DenialsQuery:
    """Read the query of /live/denials; raises ValueError."""
    readers = {"id": _id, "limit": _number("limit", 1, DENIALS_MOST)}
    return DenialsQuery(**_read(raw, readers, "/live/denials?id=ID&limit=100; each parameter is optional"))


def decisions_query(raw: str, *, plain: bool) -> Watched:
    """Read the query of /live/decisions; raises ValueError.

    Without the token a value cannot be asked for: who guesses one would learn that it is there, and its hash.
    """
    most = LINES_MOST if plain else LINES
    readers = {**DECISIONS, "lines": _number("lines", 1, most)}
    how = "/live/decisions?domain=DOMAIN&limit=NAME&entry=KEY=VALUE&denied=1&lines=100; each parameter is optional"
    given = _read(raw, readers, how)
    key, value = given.get("entry", (b"", None))
    if value is not None and not plain:
        raise ValueError("entry has a value, and values are shown only with the token: send it, or write entry=KEY")
    selection = Selection(given.get("domain", b""), given.get("limit", ""), key, value)
    return Watched(selection, given.get("denied", False), given.get("lines", LINES))


def no_query(path: str) -> Callable[[str], None]:
    """Make a reader of the query of a page that has no parameter."""

    def read(raw: str) -> None:
        _read(raw, {}, f"{path}, without a parameter")

    return read


def _read(raw: str, readers: Mapping[str, Reader], how: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parse_qsl(raw, keep_blank_values=True, errors="surrogateescape"):
        if name not in readers:
            raise ValueError(f"unknown parameter {name!r}: write {how}")
        if name in found:
            raise ValueError(f"{name} is given twice: write {how}")
        try:
            found[name] = readers[name](value)
        except ValueError as error:
            raise ValueError(f"{error}: write {how}") from None
    return found


def _id(text: str) -> str:
    if len(text) != 16 or not set(text) <= set("0123456789abcdef"):
        raise ValueError("id is 16 hex digits in lower case")
    return text


def _one_of(name: str, *choices: str) -> Reader:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}")
        return text

    return read


def _number(name: str, least: int, most: int) -> Reader:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
            raise ValueError(f"{name} is a whole number from {least} to {most}")
        return int(text)

    return read


def _search(text: str) -> str:
    if len(text) > SEARCH_MOST:
        raise ValueError(f"search has more than {SEARCH_MOST} characters")
    return text


def _entry(text: str) -> tuple[bytes, bytes | None]:
    if "=" not in text:
        return encode(text), None
    entries = parse(text)
    if len(entries) != 1:
        raise ValueError(r"entry is one KEY=VALUE, or KEY for any value, with \, for a comma in a value")
    return entries[0]


def _given(name: str) -> Reader:
    def read(text: str) -> str:
        if not text:
            raise ValueError(f"{name} is empty")
        return text

    return read


LIMITS: Final[Mapping[str, Reader]] = {
    "search": _search,
    "sort": _one_of("sort", *SORTS),
    "order": _one_of("order", "desc", "asc"),
    "limit": _number("limit", 1, LIMITS_MOST),
    "offset": _number("offset", 0, OFFSET_MOST),
}

DECISIONS: Final[Mapping[str, Reader]] = {
    "domain": lambda text: encode(_given("domain")(text)),
    "limit": _given("limit"),
    "entry": _entry,
    "denied": lambda text: _one_of("denied", "0", "1")(text) == "1",
}
