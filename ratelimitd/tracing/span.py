"""A span, as it is recorded when it ends. The thread that exports it makes OpenTelemetry's objects of it."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from .context import Context

Attributes = Mapping[str, str | int | bool]


class Kind(Enum):
    """The side of a call that a span is of."""

    SERVER = "server"
    CLIENT = "client"


class Span(NamedTuple):
    """A span that has ended.

    Attributes:
        began, ended: nanoseconds of the wall clock.
        attributes: by the semantic conventions, and those of this project (``ratelimitd.*``).
        failed: description of the error; None: no error.
    """

    name: str
    kind: Kind
    context: Context
    began: int
    ended: int
    attributes: Attributes
    failed: str | None = None
