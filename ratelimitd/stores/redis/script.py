"""One Lua script for every algorithm: its composition, its arguments and its replies.

The script's arguments and reply are described at the top of ``algorithms/lua/batch.lua``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import ALGORITHMS, EXACT, NEVER, Decision, Rate, counter_key
from ratelimitd.limiter import Ask

from .errors import classify

MAX_CHARGES: Final = 128
"""Charges per script call: Redis serves no other client meanwhile. 20,000 blocked it for 50 ms, 128 for 0.6 ms."""

FRAGMENTS: Final = tuple(dict.fromkeys(row.lua for row in ALGORITHMS.values()))
"""Names of the fragments, each once; a rate refers to its fragment by position, from 1."""

FRAGMENT_OF: Final[Mapping[str, int]] = {name: FRAGMENTS.index(row.lua) + 1 for name, row in ALGORITHMS.items()}

INDEPENDENT, ATOMIC, VETOED = range(3)

FAILED: Final = 2
WIDTH: Final = 5
RETRY: Final = 4
"""Place of the first ``retry_after`` in a reply, the only number that may be ``NEVER``."""

Selection = tuple[Ask, Sequence[int], int]
"""(ask, indices of the charges that a script call takes, mode in which the script treats them).

If one script call can use all keys, the indices are those of all open charges.
"""


class Script(NamedTuple):
    """The script, and its name in Redis: the SHA-1 of its text."""

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
    """Return the open charges of each ask; an ask without open charges is omitted."""
    selections: list[Selection] = []
    for ask in asks:
        outcomes = ask.outcomes
        indices = [i for i, outcome in enumerate(outcomes) if outcome is None]
        if indices:
            selections.append((ask, indices, mode_of(ask) if ask.atomic else INDEPENDENT))
    return selections


def calls(selections: Iterable[Selection]) -> Iterator[list[Selection]]:
    """Group selections, in order, into calls of up to ``MAX_CHARGES`` charges; a larger selection has its own call."""
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
    """Return the script's mode for the ask's charges; a binding denial by a guard vetoes an atomic ask."""
    if not ask.atomic:
        return INDEPENDENT
    for charge, outcome in zip(ask.plan.charges, ask.outcomes, strict=True):
        if charge.binding and isinstance(outcome, Decision) and not outcome.allowed:
            return VETOED
    return ATOMIC


def pack(
    selections: Iterable[Selection], now: int, *, clock: int | None = None, jitter: int = 0
) -> tuple[list[bytes], list[bytes | str | int]]:
    """Return KEYS and ARGV of the script call for these selections.

    Args:
        selections: selections of one call, see ``calls``.
        now: wall clock of the host, µs; it selects the counter of a fixed window.
        clock: time, µs, for all other algorithms; None for the time of Redis, so that all hosts agree.
        jitter: ms by which counters keyed by their window live longer (drawn up to EXPIRATION_JITTER_MAX_SECONDS).
    """
    places: dict[bytes, int] = {}
    rates: list[list[int | list[int]]] = []
    rate_numbers: dict[int, int] = {}
    plan: list[int] = []
    for ask, indices, mode in selections:
        charges, costs = ask.plan.charges, ask.costs
        plan += mode, len(indices)
        for index in indices:
            charge = charges[index]
            rate = charge.limit.rate
            if rate is None:
                raise ValueError(f"charge {index} belongs to an unlimited limit, which has no counter")
            name = counter_key(charge.key, rate, now)
            place = places.setdefault(name, len(places) + 1)
            rate_number = rate_numbers.get(id(rate))
            if rate_number is None:
                rates.append(numbered(rate))
                rate_number = rate_numbers[id(rate)] = len(rates)
            plan += place, rate_number, costs[index], 1 if charge.binding else 0
    # A list of integers has the same form in Python and in JSON, and str() is the fastest way to write one.
    return list(places), ["" if clock is None else clock, now, jitter, str([rates, plan])]


def pack_single(
    selection: Selection, now: int, *, clock: int | None = None, jitter: int = 0
) -> tuple[list[bytes], list[bytes | str | int]]:
    """``pack`` for a selection of one charge, in a quarter of the time; most calls to a cluster have one charge."""
    ask, (index,), mode = selection
    charge = ask.plan.charges[index]
    rate = charge.limit.rate
    if rate is None:
        raise ValueError(f"charge {index} belongs to an unlimited limit, which has no counter")
    plan = f"[[{_text_of(rate)}],[{mode},1,1,1,{ask.costs[index]},{1 if charge.binding else 0}]]"
    return [counter_key(charge.key, rate, now)], ["" if clock is None else clock, now, jitter, plan]


@lru_cache(maxsize=4096)
def _text_of(rate: Rate) -> str:
    return str(numbered(rate))


def split(selections: Iterable[Selection]) -> list[Selection]:
    """Split selections larger than a script call, unless their charges must be decided together."""
    pieces: list[Selection] = []
    for ask, indices, mode in selections:
        if mode != INDEPENDENT or len(indices) <= MAX_CHARGES:
            pieces.append((ask, indices, mode))
        else:
            pieces += [(ask, indices[at : at + MAX_CHARGES], mode) for at in range(0, len(indices), MAX_CHARGES)]
    return pieces


def numbered(rate: Rate) -> list[int | list[int]]:
    """Return the rate as the script expects it: the position of its fragment, and its numbers."""
    return [FRAGMENT_OF[rate.algorithm], list(rate.numbers)]


def check(reply: Any, charges: int) -> None:
    """Raise TypeError or ValueError unless the script can have sent this reply for this number of charges.

    A reply with parts of another one would shift all replies after it to the wrong callers.
    """
    if type(reply) is not list:
        raise TypeError("the reply is no list")
    if charges == 1 and len(reply) == 1 + WIDTH:
        # Most calls to a cluster have one charge. The bits of six integers show in less time whether all are in range.
        now, allowed, remaining, reset, retry, before = reply
        if not (now | allowed | remaining | reset | retry | before) // EXACT and allowed != FAILED:
            return
    end = 1 + WIDTH * charges
    numbers = reply[:end]
    if not _in_range(numbers):
        numbers[RETRY::WIDTH] = [0 if number == NEVER else number for number in numbers[RETRY::WIDTH]]
        if not _in_range(numbers):
            raise ValueError("the reply has a number out of range")
    failed = numbers[1::WIDTH].count(FAILED)
    if len(reply) != end + failed:
        raise ValueError("the reply does not have the length that its numbers imply")
    if failed and not all(type(text) is bytes for text in reply[end:]):
        raise TypeError("the reply has an error that is no text")


def _in_range(numbers: Sequence[Any]) -> bool:
    """Whether all are integers from 0 that Lua's doubles represent exactly. Raises TypeError for texts and lists."""
    return min(numbers) >= 0 and max(numbers) < EXACT and type(sum(numbers)) is int


def unpack(reply: Any, selections: Iterable[Selection], charges: int) -> int:
    """Set the outcomes in the reply to ``pack(selections, …)``, with this number of charges.

    Return the time of the decision, µs. Raises TypeError or ValueError if the script cannot have sent this reply.
    """
    check(reply, charges)
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
        if place >= len(failed):
            raise ValueError("the reply does not have the error that its numbers name")
        ask.outcomes[index] = classify(reply[at + place].decode("utf-8", "replace"))
    now: int = reply[0]
    return now
