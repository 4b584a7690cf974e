"""From the open charges of asks to the keys and arguments of script calls.

A charge of a fixed window that counts what it rejects is only added to its counter, whatever becomes of it: the script
returns the count before, and Python decides by that. Redis has a third of the work with such a charge, and sends one
number in place of five. So it is with a question or a peek, which adds 0. All other charges are decided by the script.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from ratelimitd.algorithms import CONCURRENT, KEYED_BY_WINDOW, SECOND, SETTLES, Decision, Hold, Rate, counter_key
from ratelimitd.limiter import Ask, Charge, holds_key, in_order, is_independent

from .call import ATOMIC, EVERY_KEY, INDEPENDENT, NO_KEY, VETOED, Packed, Pending, Selection
from .script import FRAGMENT_OF

MAX_CHARGES: Final = 128
"""Charges per script call: Redis serves no other client meanwhile. 20,000 blocked it for 50 ms, 128 for 0.6 ms."""


def open_selections(asks: Iterable[Ask]) -> list[Selection]:
    """Return the open charges of each ask; an ask without open charges is omitted."""
    return [selection for ask in asks for selection in portions(ask)]


def portions(ask: Ask, pending: Pending | None = None) -> list[Selection]:
    """Return the open charges of an ask: of an atomic one first those that are made in any case."""
    indices, mode = open_charges(ask), mode_of(ask)
    if mode == INDEPENDENT or not ask.plan.mixed or not indices:
        return [Selection(ask, indices, mode, pending)] if indices else []
    apart = [index for index in indices if is_independent(ask, index)]
    if not apart:
        return [Selection(ask, indices, mode, pending)]
    together = [index for index in indices if index not in apart]
    first = Selection(ask, apart, INDEPENDENT, pending)
    return [first, Selection(ask, together, mode, pending)] if together else [first]


def open_charges(ask: Ask) -> Sequence[int]:
    """Return the indices of the charges without an outcome, in the order in which they are made."""
    outcomes = ask.outcomes
    if len(outcomes) == 1:
        return ONLY if outcomes[0] is None else ()
    return in_order(ask, [index for index, outcome in enumerate(outcomes) if outcome is None])


ONLY: Final = (0,)
"""The indices of the charges of most asks."""


def mode_of(ask: Ask) -> int:
    """Return the script's mode for the ask's charges; a binding denial by a guard vetoes an atomic ask."""
    if not ask.atomic:
        return INDEPENDENT
    for charge, outcome in zip(ask.plan.charges, ask.outcomes, strict=True):
        if charge.binding and isinstance(outcome, Decision) and not outcome.allowed:
            return VETOED
    return ATOMIC


def calls(selections: Iterable[Selection]) -> list[list[Selection]]:
    """Group selections, in order, into calls of up to ``MAX_CHARGES`` charges; a larger selection has its own call."""
    groups: list[list[Selection]] = []
    group: list[Selection] = []
    room = MAX_CHARGES
    for selection in selections:
        size = len(selection.indices)
        if size > room and group:
            groups.append(group)
            group, room = [], MAX_CHARGES
        group.append(selection)
        room -= size
    if group:
        groups.append(group)
    return groups


def split(selections: Sequence[Selection]) -> Sequence[Selection]:
    """Split selections larger than a script call, unless their charges must be decided together."""
    pieces: list[Selection] = []
    for one in selections:
        if one.mode != INDEPENDENT or len(one.indices) <= MAX_CHARGES:
            pieces.append(one)
        else:
            pieces += [
                Selection(one.ask, one.indices[at : at + MAX_CHARGES], INDEPENDENT, one.pending)
                for at in range(0, len(one.indices), MAX_CHARGES)
            ]
    return pieces


def pack(
    selections: Sequence[Selection], now: int, *, clock: int | None = None, jitter: int = 0, declared: bool = True
) -> Packed:
    """Return the script call for these selections. Raises ValueError for a charge of an unlimited limit.

    Args:
        selections: selections of one call, see ``calls``.
        now: wall clock of the host, µs; it selects the counter of a fixed window.
        clock: time, µs, for all other algorithms; None for the time of Redis, so that all hosts agree.
        jitter: ms by which counters keyed by their window live longer (drawn up to EXPIRATION_JITTER_MAX_SECONDS).
        declared: whether to tell Redis which words are keys; no if a cluster's node is asked over several slots.
    """
    packed = Packed(now)
    sort_out(selections, packed)
    names: dict[bytes, int] = {}
    counts = _counts(packed, names) if packed.counted else NO_COUNTS
    plan = _plan(packed, names) if packed.others else NO_PLAN
    if not (counts and plan):
        # A counter that is added to is otherwise charged too: all in the order of the asks, as the script decides.
        packed = Packed(now)
        packed.others, names, counts = list(selections), {}, NO_COUNTS
        plan = _plan(packed, names)
    packed.keys = list(names)
    packed.declared = EVERY_KEY if declared else NO_KEY
    packed.arguments = ["" if clock is None else clock, now, jitter, f"[{counts},{plan}]"]
    return packed


NO_COUNTS: Final = "[],[]"
NO_PLAN: Final = "[],[]"


def pack_single(selections: Sequence[Selection], now: int, *, clock: int | None = None, jitter: int = 0) -> Packed:
    """``pack`` for one selection of one charge, in a quarter of the time; most calls to a cluster have one charge."""
    packed = Packed(now)
    selection = selections[0]
    ask, index = selection.ask, selection.indices[0]
    charge, cost = ask.plan.charges[index], ask.costs[index]
    rate = rate_of(ask, index)
    if charge.hold is not None:
        return _pack_held(packed, selection, charge, charge.hold, clock)
    packed.keys.append(counter_key(charge.key, rate, now))
    if selection.mode == INDEPENDENT and is_counted(rate, cost, charge.flags):
        packed.counted.append(selection)
        packed.places.append(0)
        packed.counts = 1
        text = f"[[{rate.window // 1000},1],[{cost}],{NO_PLAN}]"
    else:
        packed.others.append(selection)
        packed.charges = 1
        text = f"[{NO_COUNTS},[{_text_of(rate)}],[{selection.mode},1,1,1,{cost},{charge.flags}]]"
    packed.arguments = ["" if clock is None else clock, now, jitter, text]
    return packed


def _pack_held(packed: Packed, selection: Selection, charge: Charge, hold: Hold, clock: int | None) -> Packed:
    """Pack a single charge of a limit with holds.

    The key of the holds comes first, also in ``_plan``: a proxy sends a call to the server of its first key, and the
    name of a counter may change with its window.
    """
    index = selection.indices[0]
    rate = rate_of(selection.ask, index)
    packed.keys.append(holds_key(charge.key))
    if rate.algorithm != CONCURRENT:
        packed.keys.append(counter_key(charge.key, rate, packed.now))
    packed.others.append(selection)
    packed.charges = packed.held = 1
    plan = f"[{selection.mode},1,1,1,{selection.ask.costs[index]},{charge.flags}]"
    text = f"[{NO_COUNTS},[{_text_of_held(rate, hold.ttl)}],{plan},[{_text_of_hold(hold)}]]"
    packed.arguments = ["" if clock is None else clock, packed.now, 0, text]
    return packed


def rate_of(ask: Ask, index: int) -> Rate:
    """Return the rate of a charge. Raises ValueError if it has none."""
    rate = ask.plan.charges[index].rule.rate
    if rate is None:
        raise ValueError(f"charge {index} belongs to an unlimited limit, which has no counter")
    return rate


def is_counted(rate: Rate, cost: int, flags: int) -> bool:
    """Whether the counter changes by the cost, whatever is decided; by 0 if it is only asked."""
    added = cost == 0 or (cost > 0 and (rate.count_rejected or flags >= SETTLES))
    return added and rate.algorithm in KEYED_BY_WINDOW


def sort_out(selections: Iterable[Selection], packed: Packed) -> None:
    """Divide the charges into those that are only counted, and those that the script decides."""
    for selection in selections:
        ask, indices = selection.ask, selection.indices
        counted: Sequence[int] = ()
        if selection.mode == INDEPENDENT:
            costs, charges = ask.costs, ask.plan.charges
            counted = [
                i
                for i in indices
                if charges[i].hold is None and is_counted(rate_of(ask, i), costs[i], charges[i].flags)
            ]
        if len(counted) == len(indices):
            packed.counted.append(selection)
        elif not counted:
            packed.others.append(selection)
        else:
            rest = [index for index in indices if index not in counted]
            packed.counted.append(Selection(ask, counted, INDEPENDENT, selection.pending))
            packed.others.append(Selection(ask, rest, INDEPENDENT, selection.pending))


def _counts(packed: Packed, names: dict[bytes, int]) -> str:
    """Name the counters that are only added to. Return their lives and costs; empty if one has two windows."""
    now, places = packed.now, packed.places
    windows: list[int] = []
    costs: list[int] = []
    runs: list[int] = []
    last, start, run = 0, b"", 0
    for selection in packed.counted:
        ask = selection.ask
        for index in selection.indices:
            window = rate_of(ask, index).window
            if window != last:
                last, start = window, b"%d" % ((now - now % window) // SECOND)
            name = ask.plan.charges[index].key + start  # see counter_key
            place = names.get(name)
            if place is None:
                place = names[name] = len(costs)
                costs.append(ask.costs[index])
                windows.append(window)
                if window != run:
                    run = window
                    runs += window // 1000, 0
                runs[-1] += 1
            elif windows[place] != window:
                return ""
            else:
                costs[place] += ask.costs[index]
            places.append(place)
    packed.counts = len(costs)
    # A list of integers has the same form in Python and in JSON, and str() is the fastest way to write one.
    return f"{runs},{costs}"


def _plan(packed: Packed, names: dict[bytes, int]) -> str:
    """Name the other counters. Return their rates and charges; empty if one of the counters is only added to.

    Behind them is what the charges do with holds, if they do.
    """
    now, counts = packed.now, packed.counts
    holds: list[str] = []
    rates: list[str] = []
    rate_numbers: dict[int, int] = {}
    plan: list[int] = []
    size = 0
    for selection in packed.others:
        ask = selection.ask
        plan += selection.mode, len(selection.indices)
        size += len(selection.indices)
        for index in selection.indices:
            charge, rate = ask.plan.charges[index], rate_of(ask, index)
            hold = charge.hold
            name = counter_key(charge.key, rate, now) if hold is None else holds_key(charge.key)
            place = names.get(name)
            if place is None:
                place = names[name] = len(names)
                if hold is not None and rate.algorithm != CONCURRENT:
                    names[counter_key(charge.key, rate, now)] = len(names)
            elif place < counts:
                return ""
            identity = id(rate) if hold is None else id(charge.rule.limit)
            number = rate_numbers.get(identity)
            if number is None:
                rates.append(_text_of(rate) if hold is None else _text_of_held(rate, hold.ttl))
                number = rate_numbers[identity] = len(rates)
            if hold is not None:
                holds.append(_text_of_hold(hold))
            plan += place + 1, number, ask.costs[index], charge.flags
    packed.charges, packed.held = size, len(holds)
    text = f"[{','.join(rates)}],{plan}"
    return f"{text},[{','.join(holds)}]" if holds else text


def numbered(rate: Rate, hold: Hold | None) -> list[int | list[int]]:
    """Return the rate as the script expects it: the position of its fragment, and its numbers.

    With holds, the limit and their ttl follow; without a counter, the position is 0.
    """
    if hold is None:
        return [FRAGMENT_OF[rate.algorithm], list(rate.numbers[:6])]
    return [FRAGMENT_OF.get(rate.algorithm, 0), list(rate.numbers[:6]), rate.burst, hold.ttl]


@lru_cache(maxsize=4096)
def _text_of(rate: Rate) -> str:
    return str(numbered(rate, None))


@lru_cache(maxsize=4096)
def _text_of_held(rate: Rate, ttl: int) -> str:
    return str(numbered(rate, Hold(ttl)))


def _text_of_hold(hold: Hold) -> str:
    """Return what a charge does with holds; names have digits, ``.`` and ``?`` only, see ``names_of``."""
    names = "".join([f',"{name.decode()}"' for name in hold.names])
    return f"[{hold.amount},{int(hold.newest)}{names}]"
