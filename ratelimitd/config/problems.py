"""What can be wrong with a policy, with the place."""

from collections.abc import Container, Iterable
from typing import NamedTuple


class PolicyError(NamedTuple):
    """One thing wrong (or, as a warning, odd) in a policy file.

    Attributes:
        file: as envoyproxy/ratelimit names it, e.g. ``config.basic.yaml``.
        line: from 1; 0 when it is about the file as a whole, e.g. one that cannot be read.
        message: envoyproxy/ratelimit's own text where it has one.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" + (f" (line {self.line})" if self.line else "")


class PolicyErrors(ValueError):  # noqa: N818 - it holds many
    """Everything that is wrong with a policy: ``errors``, in the order of the files and their lines."""

    def __init__(self, errors: Iterable[PolicyError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


class Notes:
    """Collects errors and warnings while files are read; ``file`` is the one being read."""

    def __init__(self) -> None:
        self.file = ""
        self.errors: list[PolicyError] = []
        self.warnings: list[PolicyError] = []

    def error(self, line: int, message: str) -> None:
        """Note what makes the policy unusable."""
        self.errors.append(PolicyError(self.file, line, message))

    def forget(self, files: Container[str]) -> None:
        """Drop what was noted of these files."""
        self.errors = [error for error in self.errors if error.file not in files]

    def warn(self, line: int, message: str) -> None:
        """Note what the writer should know."""
        self.warnings.append(PolicyError(self.file, line, message))
