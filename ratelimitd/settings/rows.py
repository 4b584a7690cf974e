"""A row of the settings table, and what may be shown of its value."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Generic, Self, TypeVar, overload

T = TypeVar("T")

MASK: Final = "***"


class Status(StrEnum):
    """What the service does with a variable."""

    WORKS = "works"
    REFUSED = "refused"
    """It decides where policy, counters or trust come from and is not built: set, it ends the start."""
    UNREAD = "unread"
    """Nothing reads it: set, it is named in a warning."""


class Secret(StrEnum):
    """How much of a value must not be shown."""

    NO = "no"
    WHOLE = "whole"
    USERINFO = "userinfo"
    """All before the last ``@``."""


class Row(Generic[T]):
    """One variable. As an attribute of ``Settings`` it is a descriptor, so that its parser types the attribute.

    Attributes:
        name: of the environment variable; the flag is the same in lower case with dashes.
        parse: text to value; raises ValueError with what to write instead.
        default: as text, in the form the environment would hold.
        doc: one sentence for --help and docs, with the source of the default where it is ours.
        status: see ``Status``.
        secret: see ``Secret``.
    """

    __slots__ = ("default", "doc", "name", "parse", "secret", "status")

    def __init__(
        self,
        parse: Callable[[str], T],
        default: str,
        doc: str,
        *,
        name: str = "",
        status: Status = Status.WORKS,
        secret: Secret = Secret.NO,
    ) -> None:
        self.parse = parse
        self.default = default
        self.doc = doc
        self.name = name
        self.status = status
        self.secret = secret

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.name = attribute.upper()

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: type) -> Self | T:
        """Give the row itself on the class; on an object the value hides it."""
        if instance is None:
            return self
        raise AttributeError(self.name)

    @property
    def flag(self) -> str:
        """The flag of the same meaning."""
        return "--" + self.name.lower().replace("_", "-")

    def shown(self, value: str) -> str:
        """Return what a message may show of a value."""
        if self.secret is Secret.WHOLE and value:
            return MASK
        if self.secret is Secret.USERINFO and "@" in value:
            return f"{MASK}@{value.rpartition('@')[2]}"
        if self.secret is Secret.USERINFO and "://" in value:
            return f"{value.partition('://')[0]}://{MASK}"
        return value
