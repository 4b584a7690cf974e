"""Matchers of strings, headers and query parameters, with the semantics of Envoy 1.40."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ratelimitd.http1 import Fields

from .model import HeaderMatch, QueryMatch, TextMatch
from .spellings import HOST_NAMES, host_expression

Tester = Callable[[bytes], bool]
HeaderMap = Mapping[bytes, Sequence[bytes]]
"""Header values by name in lower case, including Envoy's :path, :method, :authority and :scheme."""
HeaderValues = tuple[tuple[bytes, tuple[bytes, ...]], ...]
"""Names in lower case, each with the values of its header: what a ``HeaderMap`` is made of, and hashable."""

JOINED: Final = frozenset(
    b"accept accept-encoding access-control-request-method authorization cache-control content-type expect"
    b" grpc-timeout if-match if-modified-since if-none-match origin pragma referer user-agent via x-client-trace-id"
    b" x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id".split()
)
"""Headers whose lines Envoy joins with a comma. In other headers each line is a separate value."""

LISTS: Final = frozenset(
    b"accept accept-encoding cache-control if-match if-none-match pragma via"  # RFC 9110 and 9111
    b" x-forwarded-for x-forwarded-host x-forwarded-proto".split()  # by convention
)
"""Those that are lists by definition: their lines are one value for every program, and for a limit, joined."""


class PatternError(ValueError):
    """A regular expression is not valid in RE2. The text gives the reason."""


def regex(pattern: str) -> Tester:
    """Return a full-match test for an RE2 expression; its time is linear in the text. Raises PatternError.

    As in Envoy, expression and text are bytes: ``.`` is any byte except a line feed, and a character above 127 in the
    expression is the bytes of its UTF-8 form, each on its own in a class.
    """
    import re2  # noqa: PLC0415 -- needed only if a file has a regex

    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it is too large"
        raise PatternError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    return lambda text: compiled.fullmatch(text) is not None


def text_tester(match: TextMatch) -> Tester:
    """Return a function that matches a string. As in Envoy, ``ignore_case`` covers ASCII only and not ``regex``."""
    if match.kind == "regex":
        return regex(match.text)
    text = match.text.encode()
    if match.ignore_case:
        sensitive = _TESTERS[match.kind](text.lower())
        return lambda value: sensitive(value.lower())
    return _TESTERS[match.kind](text)


def _exact(text: bytes) -> Tester:
    return lambda value: value == text


def _prefix(text: bytes) -> Tester:
    return lambda value: value.startswith(text)


def _suffix(text: bytes) -> Tester:
    return lambda value: value.endswith(text)


def _contains(text: bytes) -> Tester:
    return lambda value: text in value


_TESTERS: Final[Mapping[str, Callable[[bytes], Tester]]] = {
    "exact": _exact,
    "prefix": _prefix,
    "suffix": _suffix,
    "contains": _contains,
}

TEXT_KINDS: Final = (*_TESTERS, "regex")


def header_tester(match: HeaderMatch) -> Callable[[HeaderMap], bool]:
    """Return a function that matches the headers of a request."""
    name, invert, empty = match.name, match.invert, [b""] if match.missing_as_empty else []
    if match.text is None:
        wanted = match.present != invert
        return lambda headers: (name in headers or bool(empty)) == wanted
    test = regex(host_expression(match.text)) if name in HOST_NAMES else text_tester(match.text)

    def matches(headers: HeaderMap) -> bool:
        values = headers.get(name, empty)
        return bool(values) and any(map(test, values)) != invert

    return matches


def query_tester(match: QueryMatch) -> Callable[[Mapping[bytes, bytes]], bool]:
    """Return a function that matches the query parameters of a request."""
    name, present = match.name, match.present
    if match.text is None:
        return lambda parameters: (name in parameters) == present
    test = text_tester(match.text)
    return lambda parameters: name in parameters and test(parameters[name])


def header_values(fields: Fields, wanted: Sequence[bytes]) -> HeaderValues:
    """Return the values of the ``wanted`` headers among these fields."""
    names, found = fields.names, list[tuple[bytes, tuple[bytes, ...]]]()
    for name in wanted:
        count = names.count(name)
        if count == 1:
            found.append((name, (fields.value(names.index(name)),)))
        elif count:
            values = tuple(fields.values(name))
            found.append((name, (b",".join(values),) if name in JOINED else values))
    return tuple(found)
