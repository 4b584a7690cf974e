"""Errors and warnings of a policy, with file and line."""

from collections.abc import Container, Iterable
from typing import NamedTuple

from ratelimitd.printable import printable


class PolicyError(NamedTuple):
    """One error or warning in a policy or gateway file.

    Attributes:
        file: name as in envoyproxy/ratelimit, e.g. ``config.basic.yaml``.
        line: counted from 1; 0 if it concerns the whole file, e.g. one that cannot be read.
        message: the text of envoyproxy/ratelimit if it has one.
        rule: of a warning: the rule of the lint that it comes from.
        remedy: of a warning: what to write instead.
    """

    file: str
    line: int
    message: str
    rule: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        line = f" (line {self.line})" if self.line else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        text = f"{self.file}: {self.message}{line}{remedy}" + (f" [{self.rule}]" if self.rule else "")
        return printable(text)


class PolicyErrors(ValueError):  # noqa: N818 -- it contains many
    """All errors of a policy: ``errors``, in the order of the files and their lines."""

    def __init__(self, errors: Iterable[PolicyError]) -> None:
        self.errors = tuple(errors)
        super().__init__(self.errors)

    def __str__(self) -> str:
        """Return a line for each error; made only where it is shown, since thousands would hold the event loop."""
        return "\n".join(map(str, self.errors))


class Notes:
    """Collects errors while files are read; ``file`` is the current one."""

    def __init__(self) -> None:
        self.file = ""
        self.errors: list[PolicyError] = []

    def error(self, line: int, message: str) -> None:
        """Record an error."""
        self.errors.append(PolicyError(self.file, line, message))

    def forget(self, files: Container[str]) -> None:
        """Drop the errors of these files."""
        self.errors = [error for error in self.errors if error.file not in files]
