"""The fenced blocks of a page in Markdown, and what a comment above a block says of it.

``<!-- not run: REASON -->``
    The block needs more than a machine without network can give, or more than 30 s.
``<!-- stays: TEXT -->``
    Its last command stays in the foreground. It is ready when it prints TEXT, and runs until the page ends.
``<!-- exits: N -->``
    Its last command exits with N.

``<!-- Ctrl-C -->`` anywhere between two blocks, where the text says so: all that stayed until here is stopped.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_STOP: Final = "<!-- Ctrl-C -->"
_NOTE: Final = re.compile(r"<!-- (?P<kind>not run|stays|exits): (?P<text>[^\n]+?) -->\n *\Z")

OUTPUT: Final = ("text", "json")
"""Languages of a block that shows what the block before it prints."""


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        line: line of its first line in the page, counted from 1.
        kind, note: the comment above it, both empty without one.
        follows: whether only blank lines separate it from the block before.
        stops: whether the reader has stopped before it all that stayed.
    """

    line: int
    language: str
    text: str
    kind: str
    note: str
    follows: bool
    stops: bool

    @property
    def is_command(self) -> bool:
        """Whether a reader pastes it into a shell."""
        return self.language == "sh"

    @property
    def is_output(self) -> bool:
        """Whether it shows the output of the block before it."""
        return self.follows and self.language in OUTPUT


def blocks(page: str) -> list[Block]:
    """Return all blocks of a page, in order."""
    return list(_blocks(page))


def _blocks(page: str) -> Iterator[Block]:
    end = 0
    for found in _FENCE.finditer(page):
        between = page[end : found.start()]
        note = _NOTE.search(between)
        indent = len(found["indent"])
        text = "".join(line[indent:] or "\n" for line in found["text"].splitlines(keepends=True))
        yield Block(
            line=page.count("\n", 0, found.start("text")) + 1,
            language=found["language"],
            text=text,
            kind=note["kind"] if note else "",
            note=note["text"] if note else "",
            follows=end > 0 and not between.strip(),
            stops=_STOP in between,
        )
        end = found.end()


def pages(root: Path) -> list[Path]:
    """Return the pages of the project: at its top, and in docs and its folders."""
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")])
