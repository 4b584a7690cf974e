"""Where the limits of a policy were written: file and line of each, in a few bytes.

Limits are shared and compared, so a place is no part of them: a limit that moves by a line is the same limit.
"""

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from ratelimitd.printable import printable

if TYPE_CHECKING:
    from .model import DescriptorNode, Policy

NO_LINE: Final = 0
"""Line of a limit in a resource of xDS, which has no lines: those of files count from 1."""


class Where(NamedTuple):
    """Where a limit was written.

    Attributes:
        file: the file as errors name it, or the name of a resource of xDS.
        line: line of its ``rate_limit``, or of its item of ``rate_limits``; None in a resource.
        resource: whether it is a resource of xDS.
    """

    file: str
    line: int | None
    resource: bool

    def __str__(self) -> str:
        file = printable(self.file)
        return f"resource {file}" if self.line is None else f"{file}:{self.line}"


class Written(NamedTuple):
    """The places of all limits, numbered from 0 in the order of the rows; or of those of a slice.

    Attributes:
        files: each file in turn; "" for limits that no file has.
        starts: the number of the first limit of each file.
        lines: one for each limit.
    """

    files: list[str]
    starts: list[int]
    lines: "array[int]"

    def add(self, file: str, lines: "tuple[int, ...]") -> None:
        """Add the limits of one descriptor."""
        if lines and (not self.files or self.files[-1] != file):
            self.files.append(file)
            self.starts.append(len(self.lines))
        self.lines.extend(lines)

    def extend(self, other: "Written") -> None:
        """Add the limits of the next slice, whose numbers are counted from its own first."""
        before = len(self.lines)
        self.files.extend(other.files)
        self.starts.extend([before + start for start in other.starts])
        self.lines.extend(other.lines)


def nothing_written() -> Written:
    """Return the places of no limit."""
    return Written([], [], array("I"))


def where_of(policy: "Policy", node: "DescriptorNode", index: int) -> Where | None:
    """Return where a limit of a policy was written, by its index in ``limits`` of its node; None if no file has it."""
    written = policy.written
    number = node.first_limit + index
    if not 0 <= index < len(node.limits) or number >= len(written.lines):
        return None
    file = written.files[bisect_right(written.starts, number) - 1]
    if not file:
        return None
    line = written.lines[number]
    return Where(file, line or None, resource=line == NO_LINE)


def where_fields(where: Where | None) -> dict[str, str | int | None] | None:
    """Return a place as JSON: ``{"file", "line"}``, or ``{"resource", "line": null}``."""
    if where is None:
        return None
    return {"resource" if where.resource else "file": printable(where.file), "line": where.line}
