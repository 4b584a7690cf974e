"""A row of the settings table, and the masking of its value."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Generic, Self, TypeVar, overload

T = TypeVar("T")

MASK: Final = "***"


class RowStatus(StrEnum):
    """Support for a variable."""

    WORKS = "works"
    REFUSED = "refused"
    """Decides where policy, counters or trust come from, and is not implemented: if set, the start fails."""
    EARLY = "early"
    """Takes effect when the package is imported, before settings are read: a variable without a flag."""
    NAMED = "named"
    """Takes effect; a name that another setting lists is part of the variable's, so it has no flag."""
    EXPORTER = "exporter"
    """Read by OpenTelemetry's exporter from the environment: a variable without a flag."""
    UNREAD = "unread"
    """Has no effect: if set, a warning names it."""


class Secret(StrEnum):
    """The part of a value that is masked."""

    NO = "no"
    WHOLE = "whole"
    USERINFO = "userinfo"
    """Everything up to the last ``@``."""


class Row(Generic[T]):
    """One variable. As an attribute of ``Settings`` it is a descriptor, so that the parser determines its type.

    Attributes:
        name: name of the environment variable.
        flag: name of the flag; by default that of the variable, in lower case with dashes.
        parse: converts text to a value; raises ValueError with what to write instead.
        default: default as text, in the form of an environment variable.
        doc: one sentence for --help and docs, with the reason of the default if it differs from upstream's.
        status: see ``RowStatus``.
        secret: see ``Secret``.
    """

    __slots__ = ("_flag", "default", "doc", "name", "parse", "secret", "status")

    def __init__(
        self,
        parse: Callable[[str], T],
        default: str,
        doc: str,
        *,
        name: str = "",
        flag: str = "",
        status: RowStatus = RowStatus.WORKS,
        secret: Secret = Secret.NO,
    ) -> None:
        self.parse = parse
        self.default = default
        self.doc = doc
        self.name = name
        self._flag = flag
        self.status = status
        self.secret = secret

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.name = attribute.upper()

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: type) -> Self | T:
        """Return the row itself on the class; on an instance the value hides it."""
        if instance is None:
            return self
        raise AttributeError(self.name)

    @property
    def flag(self) -> str:
        """Name of the flag with the same meaning."""
        return self._flag or "--" + self.name.lower().replace("_", "-")

    def shown(self, value: str) -> str:
        """Return a value masked for messages."""
        if self.secret is Secret.WHOLE and value:
            return MASK
        if self.secret is Secret.USERINFO and "@" in value:
            return f"{MASK}@{value.rpartition('@')[2]}"
        if self.secret is Secret.USERINFO and "://" in value:
            return f"{value.partition('://')[0]}://{MASK}"
        return value
