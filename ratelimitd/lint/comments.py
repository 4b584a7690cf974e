"""Comments that turn rules off.

``# lint: off RULE`` at the end of a line applies to this line. On a line of its own it applies to the next line with
everything that is nested in it, or to the whole file if no content precedes it.

Comments are found without YAML, which drops them: by line, so a text of several lines that contains such a comment
turns rules off too.
"""

import codecs
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
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
        self._ranges = {file: _ranges(comments) for file, comments in self._off.items()}

    def wrong(self) -> Findings:
        """Yield a finding for each comment that turns off nothing."""
        for file, comments in self._off.items():
            for comment in comments:
                if comment.why:
                    yield finding("unknown-rule", Origin(file, comment.line), why=comment.why)

    def allow(self, found: Finding) -> bool:
        """Whether no comment turns off the rule of this finding at its place."""
        file, line = found.place
        ranges = self._ranges.get(file, {}).get(found.rule, [])
        at = bisect_right(ranges, (line, _ALL)) - 1
        return at < 0 or ranges[at][1] < line


def _ranges(comments: Iterable[_Off]) -> dict[str, list[tuple[int, int]]]:
    """Return the lines for which each rule is off, as ranges in order that do not overlap."""
    found: dict[str, list[tuple[int, int]]] = {}
    for comment in sorted(comments, key=attrgetter("first")):
        for rule in comment.rules:
            ranges = found.setdefault(rule, [])
            first, last = ranges.pop() if ranges and comment.first <= ranges[-1][1] else comment[2:4]
            ranges.append((first, max(last, comment.last)))
    return found


def _found(text: bytes) -> Iterator[_Off]:
    lines = text.removeprefix(codecs.BOM_UTF8).split(b"\n")
    blocks = _Blocks(lines)
    for number, line in enumerate(lines, 1):
        comment = _COMMENT.match(line)
        if comment is None:
            continue
        before, command = comment[1], _REASON.split(comment[2])[0]
        word, *names = filter(None, _NAMES.split(command)) if command else [b""]
        known = frozenset(name.decode() for name in names if name.isascii()) & RULES.keys()
        first, last = (number, number) if before.strip() else blocks.after(number)
        yield _Off(number, frozenset(known) if word == b"off" else frozenset(), first, last, _why(word, names, known))


def _why(word: bytes, names: Sequence[bytes], known: Collection[str]) -> str:
    """Return what is wrong with a comment; empty for nothing."""
    if word != b"off":
        return f"'{shown(word)}' is not 'off'"
    if not names:
        return "it names no rule"
    wrong = ", ".join(f"'{shown(name)}'" for name in names if shown(name) not in known)
    return f"no rule has the name {wrong}" if wrong else ""


class _Blocks:
    """What follows each comment on a line of its own. Each line is looked at once, however many comments there are."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._content = [
            (number, *_indent(line)) for number, line in enumerate(lines, 1) if not _NO_CONTENT.match(line)
        ]
        self._last: dict[int, int] = {}

    def after(self, comment: int) -> tuple[int, int]:
        """Return the lines that a comment in this line applies to."""
        content = self._content
        at = bisect_right(content, comment, key=itemgetter(0))
        if not at:
            return 0, _ALL
        if at == len(content):
            return comment, comment
        if at not in self._last:
            self._last[at] = self._end(at)
        return content[at][0], self._last[at]

    def _end(self, start: int) -> int:
        """Return the last line of the content that is nested in that of a line."""
        last, depth, item = self._content[start]
        for at in range(start + 1, len(self._content)):
            number, deeper, is_item = self._content[at]
            if not (deeper > depth or (deeper == depth and is_item and not item)):
                break
            last = number
        return last


def _indent(line: bytes) -> tuple[int, bool]:
    """Return the indentation of a line, and whether it is an item of a list."""
    bare = line.lstrip(b" ")
    return len(line) - len(bare), bare[:1] == b"-"
