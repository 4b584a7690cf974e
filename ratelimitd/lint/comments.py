"""Comments that turn rules off.

``# lint: off RULE`` at the end of a line applies to this line. On a line of its own it applies to the next line with
everything that is nested in it, or to the whole file if no content precedes it.

Comments are found without YAML, which drops them: by line, so a text of several lines that contains such a comment
turns rules off too.
"""

import codecs
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ratelimitd.policy_file import Origin

from .rules import RULES, Finding, Findings, finding, shown

_COMMENT: Final = re.compile(rb"^(.*?)(?:^|(?<=\s))#\s*lint:\s*([^#]*)")
_REASON: Final = re.compile(rb"\s--(?:\s|$)")
_NAMES: Final = re.compile(rb"[\s,]+")
_NO_CONTENT: Final = re.compile(rb"\s*(?:#.*|---\s*)?$")
_ALL: Final = 1 << 62
"""Beyond the last line of any file."""


class _Off(NamedTuple):
    """Rules that are off from one line to another, both included; a comment without a valid rule has a reason."""

    line: int
    rules: frozenset[str]
    first: int
    last: int
    why: str = ""


class Comments:
    """The comments of some files, by the name of the file."""

    def __init__(self, texts: Mapping[str, bytes]) -> None:
        self._off = {file: list(_found(text)) for file, text in texts.items() if b"lint:" in text}

    def wrong(self) -> Findings:
        """Yield a finding for each comment that turns off nothing."""
        for file, comments in self._off.items():
            for comment in comments:
                if comment.why:
                    yield finding("unknown-rule", Origin(file, comment.line), why=comment.why)

    def allow(self, found: Finding) -> bool:
        """Whether no comment turns off the rule of this finding at its place."""
        file, line = found.place
        return not any(
            found.rule in comment.rules and comment.first <= line <= comment.last for comment in self._off.get(file, ())
        )


def _found(text: bytes) -> Iterator[_Off]:
    lines = text.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, 1):
        comment = _COMMENT.match(line)
        if comment is None:
            continue
        before, command = comment[1], _REASON.split(comment[2])[0]
        word, *names = filter(None, _NAMES.split(command)) if command else [b""]
        known = frozenset(name.decode() for name in names if name.isascii()) & RULES.keys()
        first, last = (number, number) if before.strip() else _range(lines, number)
        yield _Off(number, frozenset(known) if word == b"off" else frozenset(), first, last, _why(word, names, known))


def _why(word: bytes, names: Sequence[bytes], known: Collection[str]) -> str:
    """Return what is wrong with a comment; empty for nothing."""
    if word != b"off":
        return f"'{shown(word)}' is not 'off'"
    if not names:
        return "it names no rule"
    wrong = ", ".join(f"'{shown(name)}'" for name in names if shown(name) not in known)
    return f"no rule has the name {wrong}" if wrong else ""


def _range(lines: Sequence[bytes], comment: int) -> tuple[int, int]:
    """Return the lines that a comment on a line of its own applies to."""
    if all(map(_NO_CONTENT.match, lines[: comment - 1])):
        return 0, _ALL
    content = [number for number in range(comment, len(lines)) if not _NO_CONTENT.match(lines[number])]
    if not content:
        return comment, comment
    first = content[0]
    depth, item = _indent(lines[first])
    last = first
    for number in content[1:]:
        deeper, is_item = _indent(lines[number])
        if not (deeper > depth or (deeper == depth and is_item and not item)):
            break
        last = number
    return first + 1, last + 1


def _indent(line: bytes) -> tuple[int, bool]:
    """Return the indentation of a line, and whether it is an item of a list."""
    bare = line.lstrip(b" ")
    return len(line) - len(bare), bare[:1] == b"-"
