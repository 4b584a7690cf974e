"""One Lua script for every algorithm: composed from the fragments, packed for and unpacked from.

The script's arguments and reply are described at the top of ``algorithms/lua/batch.lua``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import ALGORITHMS, Decision, Rate, counter_key
from ratelimitd.limiter import Ask

from .errors import classify

MAX_CHARGES: Final = 128
"""Charges a script call, since Redis serves nobody else meanwhile: 20,000 held it for 50 ms, this many for 0.6."""

FRAGMENTS: Final = tuple(dict.fromkeys(row.lua for row in ALGORITHMS.values()))
"""Names of the fragments, each once; a rate tells the script the place of its own, from 1."""

FRAGMENT_OF: Final[Mapping[str, int]] = {name: FRAGMENTS.index(row.lua) + 1 for name, row in ALGORITHMS.items()}

INDEPENDENT, ATOMIC, VETOED = range(3)

FAILED: Final = 2
WIDTH: Final = 5

Selection = tuple[Ask, Sequence[int], int]
"""Which charges of an ask a script call takes, by index, and how it treats them.

All open ones, where one script sees all keys.
"""


class Script(NamedTuple):
    """The script, and the name that Redis gives it: the SHA-1 of its text."""

    text: str
    sha: str


def composed_script() -> Script:
    """Return the script with its name."""
    text = compose()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def compose() -> str:
    """Return the script: what the fragments share, the fragments, and the loop over a batch."""
    folder = files("ratelimitd.algorithms") / "lua"

    def text(name: str) -> str:
        return (folder / f"{name}.lua").read_text(encoding="utf-8")

    fragments = "".join(f"(function()\n{text(name)}end)(),\n" for name in FRAGMENTS)
    return f"{text('prelude')}\nlocal FRAGMENTS = {{\n{fragments}}}\n\n{text('batch')}"


def open_selections(asks: Iterable[Ask]) -> list[Selection]:
    """Return the charges that nobody has settled yet, ask by ask; an ask without any is left out."""
    selections: list[Selection] = []
    for ask in asks:
        outcomes = ask.outcomes
        indices = [i for i, outcome in enumerate(outcomes) if outcome is None]
        if indices:
            selections.append((ask, indices, mode_of(ask) if ask.atomic else INDEPENDENT))
    return selections


def calls(selections: Iterable[Selection]) -> Iterator[list[Selection]]:
    """Group portions, in order, for one script call each: up to ``MAX_CHARGES``; a larger portion goes alone."""
    group: list[Selection] = []
    room = MAX_CHARGES
    for selection in selections:
        size = len(selection[1])
        if size > room and group:
            yield group
            group, room = [], MAX_CHARGES
        group.append(selection)
        room -= size
    if group:
        yield group


def mode_of(ask: Ask) -> int:
    """Return how the script treats the ask's charges; a binding denial by a guard has vetoed an atomic one."""
    if not ask.atomic:
        return INDEPENDENT
    for charge, outcome in zip(ask.plan.charges, ask.outcomes, strict=True):
        if charge.binding and isinstance(outcome, Decision) and not outcome.allowed:
            return VETOED
    return ATOMIC


def pack(
    selections: Iterable[Selection], now: int, *, clock: int | None = None, jitter: int = 0
) -> tuple[list[bytes], list[bytes | str | int]]:
    """Return KEYS and ARGV of the script call that takes these portions.

    Args:
        portions: of one call, see ``calls``.
        now: the host's wall clock, µs; it chooses the counter of a fixed window.
        clock: the time, µs, that all other algorithms go by; None: that of Redis, so that all hosts agree.
        jitter: ms that counters keyed by their window live longer (EXPIRATION_JITTER_MAX_SECONDS draws it).
    """
    places: dict[bytes, int] = {}
    rates: list[list[int | list[int]]] = []
    rate_places: dict[int, int] = {}
    plan: list[int] = []
    for ask, indices, mode in selections:
        charges, costs = ask.plan.charges, ask.costs
        plan += mode, len(indices)
        for index in indices:
            limit, key, binding = charges[index]
            rate = limit.rate
            if rate is None:
                raise ValueError(f"charge {index} belongs to an unlimited limit, which has no counter")
            name = counter_key(key, rate, now)
            place = places.setdefault(name, len(places) + 1)
            rate_place = rate_places.get(id(rate))
            if rate_place is None:
                rates.append(numbered(rate))
                rate_place = rate_places[id(rate)] = len(rates)
            plan += place, rate_place, costs[index], 1 if binding else 0
    # A list of whole numbers reads the same in Python and in JSON, and str() is the fastest way to write one.
    return list(places), ["" if clock is None else clock, now, jitter, str([rates, plan])]


def pack_lone(
    selection: Selection, now: int, *, clock: int | None = None, jitter: int = 0
) -> tuple[list[bytes], list[bytes | str | int]]:
    """Return what ``pack`` does, for a portion of one charge: most of what a cluster is sent. A quarter of the time."""
    ask, (index,), mode = selection
    limit, key, binding = ask.plan.charges[index]
    rate = limit.rate
    if rate is None:
        raise ValueError(f"charge {index} belongs to an unlimited limit, which has no counter")
    plan = f"[[{_text_of(rate)}],[{mode},1,1,1,{ask.costs[index]},{1 if binding else 0}]]"
    return [counter_key(key, rate, now)], ["" if clock is None else clock, now, jitter, plan]


@lru_cache(maxsize=4096)
def _text_of(rate: Rate) -> str:
    return str(numbered(rate))


def split(selections: Iterable[Selection]) -> list[Selection]:
    """Cut portions larger than a script call into several, unless they must be decided together."""
    pieces: list[Selection] = []
    for ask, indices, mode in selections:
        if mode != INDEPENDENT or len(indices) <= MAX_CHARGES:
            pieces.append((ask, indices, mode))
        else:
            pieces += [(ask, indices[at : at + MAX_CHARGES], mode) for at in range(0, len(indices), MAX_CHARGES)]
    return pieces


def numbered(rate: Rate) -> list[int | list[int]]:
    """Return the rate as the script takes it: the place of its fragment, and its numbers."""
    return [FRAGMENT_OF[rate.algorithm], list(rate.numbers)]


def check(reply: Sequence[Any], charges: int) -> None:
    """Raise TypeError or ValueError unless this has the shape of a reply for so many charges.

    One that had swallowed the next would put all that follow before the wrong callers.
    """
    numbers = 1 + WIDTH * charges
    sum(reply[:numbers])
    if len(reply) != numbers + reply[1:numbers:WIDTH].count(FAILED):
        raise ValueError("the reply does not have the length that its numbers imply")


def unpack(reply: Sequence[Any], selections: Iterable[Selection]) -> int:
    """Fill in the outcomes that the reply to ``pack(selections, …)`` holds; return the time, µs, it was decided at."""
    at = 1
    failed: list[tuple[Ask, int, int]] = []
    for ask, indices, _ in selections:
        outcomes = ask.outcomes
        for index in indices:
            allowed, remaining, reset, retry, before = reply[at : at + WIDTH]
            at += WIDTH
            if allowed == FAILED:
                failed.append((ask, index, remaining))
            else:
                outcomes[index] = Decision(allowed == 1, remaining, reset, retry, before)
    for ask, index, place in failed:
        text = reply[at + place]
        ask.outcomes[index] = classify(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))
    now: int = reply[0]
    return now
