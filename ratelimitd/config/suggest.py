"""Suggestions for a misspelled name."""

from functools import lru_cache
from typing import Final

ALIKE: Final = 0.75
"""Least similarity, as difflib counts it: ``ratelimit`` suggests ``rate_limit``, but ``limit`` not ``unlimited``."""

REMEMBERED: Final = 256
"""Results kept: a generated file repeats its misspelled keys, and a comparison takes half a millisecond."""


@lru_cache(maxsize=REMEMBERED)
def closest(name: str, known: tuple[str, ...]) -> str:
    """Return the known name that is most similar; empty if none is."""
    import difflib  # noqa: PLC0415 -- takes 1 ms, and is needed only for an error

    return next(iter(difflib.get_close_matches(name, known, 1, ALIKE)), "")


def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """Return the end of an error about an unknown name; empty if no known name is similar."""
    found = closest(name, known)
    return f"; did you mean '{found}'?" if found else ""


def one_slip(name: str, known: str) -> bool:
    """Whether two names differ by one character, or by two that changed places: what a finger does."""
    before = next((at for at, (one, other) in enumerate(zip(name, known, strict=False)) if one != other), None)
    if before is None:
        return abs(len(name) - len(known)) == 1
    one, other = name[before:], known[before:]
    swapped = one[:2] == other[1::-1] and one[2:] == other[2:]
    return one[1:] == other[1:] or one[1:] == other or one == other[1:] or (len(one) > 1 and swapped)
