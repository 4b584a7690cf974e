"""The base of values that are made for each call.

mypyc makes a C struct of such a class, where a NamedTuple stays a tuple: it is made in a tenth of the time, and a field
is read in half. Interpreted, slots save a third of the time.
"""

from typing import Any, ClassVar, Self


class Value:
    """A value: instances with equal fields are equal. By convention it is not changed once made.

    A subclass names its fields, in the order of its ``__init__``, in ``__match_args__``, and has ``__slots__ =
    __match_args__``: a compiled class has no ``__slots__``.
    """

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    def __hash__(self) -> int:
        return hash(tuple([getattr(self, name) for name in self.__match_args__]))

    def __repr__(self) -> str:
        fields = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__match_args__])
        return f"{type(self).__name__}({fields})"

    def _replace(self, **changes: Any) -> Self:
        """Return a copy with other values of these fields, as of a NamedTuple."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__match_args__}
        values.update(changes)
        return type(self)(**values)
