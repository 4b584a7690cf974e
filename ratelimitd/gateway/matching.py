"""Texts, headers and query parameters held against what a file says of them, as Envoy 1.40 does it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from .model import HeaderMatch, QueryMatch, TextMatch

Tester = Callable[[bytes], bool]
Folded = Mapping[bytes, list[bytes]]
"""Headers by their names in lower case, with Envoy's :path, :method, :authority and :scheme among them."""

JOINED: Final = frozenset(
    b"accept accept-encoding access-control-request-method authorization cache-control content-type expect"
    b" grpc-timeout if-match if-modified-since if-none-match origin pragma referer user-agent via x-client-trace-id"
    b" x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id".split()
)
"""Headers whose lines Envoy joins with a comma. Of any other, each line is a value of its own."""


class PatternError(ValueError):
    """A regular expression is not one of RE2; says why."""


def regex(pattern: str) -> Tester:
    """Return what tests a whole text against an RE2 expression, in time linear in the text. Raises PatternError."""
    import re2  # noqa: PLC0415 - only where a file has one

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it is too large"
        raise PatternError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    return lambda text: compiled.fullmatch(text) is not None


def text_tester(match: TextMatch) -> Tester:
    """Return what tests a text. ``ignore_case`` is for ASCII, and not for a regex, as in Envoy."""
    if match.kind == "regex":
        return regex(match.text)
    text = match.text.encode()
    if match.ignore_case:
        sensitive = _TESTERS[match.kind](text.lower())
        return lambda value: sensitive(value.lower())
    return _TESTERS[match.kind](text)


_TESTERS: Final[Mapping[str, Callable[[bytes], Tester]]] = {
    "exact": lambda text: lambda value: value == text,
    "prefix": lambda text: lambda value: value.startswith(text),
    "suffix": lambda text: lambda value: value.endswith(text),
    "contains": lambda text: lambda value: text in value,
}

TEXT_KINDS: Final = (*_TESTERS, "regex")


def header_tester(match: HeaderMatch) -> Callable[[Folded], bool]:
    """Return what tests the headers of a request."""
    name, invert, empty = match.name, match.invert, [b""] if match.missing_as_empty else []
    if match.text is None:
        wanted = match.present != invert
        return lambda headers: (name in headers or bool(empty)) == wanted
    test = text_tester(match.text)

    def matches(headers: Folded) -> bool:
        values = headers.get(name, empty)
        return bool(values) and any(map(test, values)) != invert

    return matches


def query_tester(match: QueryMatch) -> Callable[[Mapping[bytes, bytes]], bool]:
    """Return what tests the query parameters of a request."""
    name, present = match.name, match.present
    if match.text is None:
        return lambda parameters: (name in parameters) == present
    test = text_tester(match.text)
    return lambda parameters: name in parameters and test(parameters[name])


def fold(headers: Iterable[tuple[bytes, bytes]], wanted: frozenset[bytes]) -> dict[bytes, list[bytes]]:
    """Return the values of the headers that somebody looks at, by their names in lower case."""
    folded: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in wanted:
            values = folded.setdefault(lower, [])
            if values and lower in JOINED:
                values[0] = b"%b,%b" % (values[0], value)
            else:
                values.append(value)
    return folded
