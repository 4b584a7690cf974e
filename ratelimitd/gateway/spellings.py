"""The ways to write one path or one host. The proxy and a generated Envoy share these expressions, so they agree.

An expression is RE2's and matches the whole text: a normalized path without its query, or the Host of a request.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from .model import RouteMatch, TextMatch

HOST_NAMES: Final = frozenset((b":authority", b"host"))
"""The names of the requested host; its port, its case and a dot at its end do not count."""

_HOST_END: Final = "[.]*(?::[0-9]*)?"
_RESERVED: Final = frozenset("!$&'()*+,;=:@")
"""What may stand in a path as it is or escaped (RFC 3986, 3.3); programs read both as one path."""
_PIECE: Final = re.compile(r"%([0-9A-Fa-f]{2})|(.)", re.DOTALL)
_CLASSES: Final = re.compile(r"\[:\^?[a-z]+:\]")
_REGEX_PIECE: Final = re.compile(
    r"(?P<quoted>\\Q.*?(?:\\E|$))|%(?P<escape>[0-9A-Fa-f]{2})|\\(?P<mark>[$()*+])|(?P<letter>[!&',;=:@])"
    r"|(?P<members>\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\])"
    r"|\\.|\(\?(?:P?<\w+>|[A-Za-z-]*[:)])|\{[0-9]*,?[0-9]*\}",
    re.DOTALL,
)
"""What an expression has that a path may have escaped, and the parts in which a character is no text."""
_END: Final = re.compile(r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\]|\$", re.DOTALL)


def plain_host(authority: bytes) -> bytes:
    """Return a requested host in lower case, without its port and dots at its end; a dot alone remains."""
    host, colon, port = authority.rpartition(b":")
    bare = host if colon and (port.isdigit() or not port) else authority
    return bare.lower().rstrip(b".") or bare[:1]


def path_expression(match: RouteMatch) -> str | None:
    """Return the expression for the paths of a match; None if a comparison of bytes is the same."""
    pattern = match.pattern
    if match.kind == "regex":
        pattern = _REGEX_PIECE.sub(_regex_escape, pattern)
        expression = f"(?:{_ending(pattern, '/?')})/?" if match.ignore_trailing_slash else pattern
        return f"(?i:{expression})" if match.ignore_case else expression
    slash = match.ignore_trailing_slash and (match.kind == "path" or pattern.endswith("/")) and pattern != "/"
    if not slash and _RESERVED.isdisjoint(pattern) and "%" not in pattern:
        return None
    rest = ("/?" if match.kind == "path" else "(?:/.*)?") if slash else "" if match.kind == "path" else ".*"
    expression = _escapes(pattern.rstrip("/") if slash else pattern) + rest
    return f"(?i:{expression})" if match.ignore_case else expression


def host_expression(match: TextMatch) -> str:
    """Return the expression for a Host that a condition on its value is about."""
    text = match.text
    inner = {
        "regex": _ending(text, _HOST_END),
        "exact": re.escape(plain_host(text.encode()).decode()),
        "prefix": re.escape(text) + ".*",
        "suffix": ".*" + re.escape(text),
        "contains": f".*{re.escape(text)}.*",
    }[match.kind]
    return f"(?i:{inner}){_HOST_END}"


def hosts_expression(hosts: tuple[bytes, ...]) -> str:
    """Return the expression for the ``hosts`` of a match; a wildcard stands for at least one character."""
    return f"(?i:{'|'.join(map(_host, hosts))}){_HOST_END}"


def lookalikes(names: Iterable[str]) -> str:
    """Return the expression for names that WSGI, CGI and PHP read as one of these, since they read hyphens there.

    A name that ends with a hyphen stands for all that begin with it.
    """
    return "|".join(each for name in sorted(names) for each in _with_another(name))


def _with_another(name: str) -> Iterator[str]:
    """Yield an expression for each hyphen of a name: the first one that another character stands for."""
    words = name.split("-")
    for at in range(1, len(words)):
        after = "[^0-9a-z]".join(map(re.escape, words[at:]))
        yield "-".join(map(re.escape, words[:at])) + "[^0-9a-z-]" + after + ("" if words[-1] else ".*")


def _host(pattern: bytes) -> str:
    start, star, end = pattern.decode().partition("*")
    some = ("[^:]*[^:.]" if start else ".+") if star else ""
    return re.escape(start) + some + re.escape(end)


def _ending(expression: str, end: str) -> str:
    """Return an expression with ``end``, which may be empty, before each ``$``."""
    return _END.sub(lambda found: f"(?:{end}$)" if found[0] == "$" else found[0], expression)


def _regex_escape(found: re.Match[str]) -> str:
    """Return a part of an expression, with what it says of a character in all the forms of that character."""
    quoted, escape, mark, letter, members = found.group("quoted", "escape", "mark", "letter", "members")
    if escape or mark or letter:
        return _escapes(f"%{escape}" if escape else mark or letter)
    if quoted:
        return _escapes(quoted[2:].removesuffix("\\E"))
    if members and members[1] != "^":
        listed = sorted(_RESERVED.intersection(_CLASSES.sub("", members)))
        escaped = "".join(f"|(?i:%{ord(each):02X})" for each in listed)
        return f"(?:{members}{escaped})" if escaped else members
    return found[0]


def _escapes(pattern: str) -> str:
    """Return an expression for a text of a path, with each escape, and what may be escaped, in all its forms."""
    return _PIECE.sub(_escape, pattern)


def _escape(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16)) if found[1] else found[2]
    escaped = f"(?i:%{ord(character):02X})"
    if character in _RESERVED:
        return f"(?:{re.escape(character)}|{escaped})"
    return escaped if found[1] else re.escape(character)
