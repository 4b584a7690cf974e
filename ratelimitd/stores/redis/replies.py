"""Replies of the script: whether one can be the script's, and the outcomes in it.

A reply is the time; the count before of each counter that was only added to; five numbers for each other charge; three
for each of them whose limit has holds; and what errors there are. See ``algorithms/lua/batch.lua``.
"""

from collections.abc import Sequence
from typing import Any, Final

from ratelimitd.algorithms import EXACT, NEVER, SETTLES, Decision, HoldDecision, fixed_window_step
from ratelimitd.limiter import Ask, Charge, Failure, Outcome

from .call import VETOED, Packed, ScriptCall, Selection
from .errors import classify

FAILED: Final = 2
WIDTH: Final = 5
HOLDS: Final = 3
RETRY: Final = 3
"""Place of ``retry_after`` among the numbers of a charge, the only one that may be ``NEVER``."""

UNKNOWN: Final = -1
"""In place of a count that could not be read."""

Failures = list[tuple[Failure, bool]]
"""The failures in a reply; each with whether to count it: no if its ask is already over."""


def unpack(reply: Any, packed: Packed) -> tuple[int, Failures]:
    """Set the outcomes in the reply to a script call. Return the time of the decision, µs, and the failures.

    The outcomes of an ask that is over are dropped. Raises TypeError or ValueError if the script cannot have sent this.
    """
    check(reply, packed.counts, packed.charges, packed.held)
    failures: Failures = []
    if packed.counted:
        _decide(reply, packed, failures)
    if packed.others:
        _take(reply, packed, failures)
    now: int = reply[0]
    return now, failures


def check(reply: Any, counts: int, charges: int, held: int = 0) -> None:
    """Raise TypeError or ValueError unless the script can have sent this reply for these numbers of counts and charges.

    ``held``: charges of limits with holds.
    A reply with parts of another one would shift all replies after it to the wrong callers.
    """
    if type(reply) is not list:
        raise TypeError("the reply is no list")
    first = 1 + counts
    last = first + WIDTH * charges
    end = last + HOLDS * held
    if len(reply) == end and _in_range(reply) and FAILED not in reply[first:last:WIDTH]:
        return
    numbers = reply[:end]
    failed = [number for number in numbers[1:first] if number < 0]
    retries = numbers[first + RETRY : last : WIDTH]
    numbers[1:first] = [max(number, 0) for number in numbers[1:first]]
    numbers[first + RETRY : last : WIDTH] = [0 if number == NEVER else number for number in retries]
    if not _in_range(numbers) or failed != [-1 - 2 * place for place in range(len(failed))]:
        raise ValueError("the reply has a number out of range")
    if len(reply) != end + 2 * len(failed) + numbers[first:last:WIDTH].count(FAILED):
        raise ValueError("the reply does not have the length that its numbers imply")
    _check_errors(reply[end:], len(failed))


def _in_range(numbers: Sequence[Any]) -> bool:
    """Whether all are integers from 0 that Lua's doubles represent exactly. Raises TypeError for texts and lists."""
    for number in numbers:
        if type(number) is not int:
            raise TypeError("the reply has something other than a number")
        if not 0 <= number < EXACT:
            return False
    return True


def _check_errors(errors: Sequence[Any], counts: int) -> None:
    """Raise TypeError or ValueError unless these are the errors of counts, each a text and a count, and other texts."""
    texts, found = [*errors[: 2 * counts : 2], *errors[2 * counts :]], errors[1 : 2 * counts : 2]
    if not all(type(text) is bytes for text in texts):
        raise TypeError("the reply has an error that is no text")
    if not all(type(count) is int and UNKNOWN <= count < EXACT for count in found):
        raise ValueError("the reply has an error without a count")


def _decide(reply: list[Any], packed: Packed, failures: Failures) -> None:
    """Decide the charges that were only added to their counter, in order, by the count before the first of them."""
    counts: list[int] = reply[1 : 1 + packed.counts]
    failed = _failed_counts(reply, packed, counts) if min(counts) < 0 else NONE_FAILED
    now, at, places = packed.now, 0, packed.places
    for selection in packed.counted:
        ask = selection.ask
        outcomes = outcomes_of(selection)
        for index in selection.indices:
            place = places[at]
            at += 1
            outcome: Outcome
            if failed and place in failed and counts[place] == UNKNOWN:
                outcome = failed[place]
            else:
                charge = ask.plan.charges[index]
                state, outcome = fixed_window_step(counts[place], charge.rule.rate, ask.costs[index], now, charge.flags)  # type: ignore[arg-type]
                counts[place] = state or 0
                if failed and (outcome.allowed or charge.flags >= SETTLES):
                    outcome = failed.get(place, outcome)  # a denial stands, whether or not it could be counted
            outcomes[index] = outcome
            if failed and isinstance(outcome, Failure):
                failures.append((outcome, is_wanted(selection)))


NONE_FAILED: Final[dict[int, Failure]] = {}


def _failed_counts(reply: list[Any], packed: Packed, counts: list[int]) -> dict[int, Failure]:
    """Return the failures by place, and set the counts that were found in place of their numbers."""
    failed = {}
    end = 1 + packed.counts + WIDTH * packed.charges + HOLDS * packed.held
    for place, number in enumerate(counts):
        if number < 0:
            text, counts[place] = error_at(reply, end - number - 1), reply[end - number]
            failed[place] = classify(text)
    return failed


def _take(reply: list[Any], packed: Packed, failures: Failures) -> None:
    """Take the decisions of the script."""
    at = 1 + packed.counts
    moved = at + WIDTH * packed.charges
    end = moved + HOLDS * packed.held
    for selection in packed.others:
        outcomes = outcomes_of(selection)
        for index in selection.indices:
            allowed = reply[at]
            hold = packed.held and selection.ask.plan.charges[index].hold
            if allowed == FAILED:
                failure = classify(error_at(reply, end + reply[at + 1]))
                outcomes[index] = failure
                failures.append((failure, is_wanted(selection)))
            elif hold:
                outcomes[index] = HoldDecision(allowed == 1, *reply[at + 1 : at + WIDTH], *reply[moved : moved + HOLDS])
            else:
                outcomes[index] = Decision(allowed == 1, reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4])
            at += WIDTH
            if hold:
                moved += HOLDS


def late_holds(reply: list[Any], packed: Packed) -> list[tuple[Ask, int]]:
    """Return the charges that took a hold for an ask that was over, so that no answer has a lease of it."""
    at = 1 + packed.counts
    moved = at + WIDTH * packed.charges + 1
    found = []
    for selection in packed.others:
        wanted = is_wanted(selection)
        for index in selection.indices:
            charge = selection.ask.plan.charges[index]
            if charge.hold is None:
                continue
            if not wanted and charge.flags < SETTLES and reply[moved]:
                found.append((selection.ask, index))
            moved += HOLDS
    return found


def holds_of(call: ScriptCall) -> list[tuple[Ask, int]]:
    """Return the charges of a call that take a hold if it is run."""
    return [
        (selection.ask, index)
        for selection in call.selections
        for index in selection.indices
        if selection.mode != VETOED and _holds(selection.ask.plan.charges[index])
    ]


def _holds(charge: Charge) -> bool:
    return charge.hold is not None and len(charge.hold.names) > 0 and charge.flags < SETTLES


def error_at(reply: list[Any], place: int) -> str:
    """Return an error text. Raises ValueError if there is none in this place."""
    text = reply[place] if place < len(reply) else None
    if type(text) is not bytes:
        raise ValueError("the reply does not have the error that its numbers name")
    return text.decode("utf-8", "replace")


def is_wanted(selection: Selection) -> bool:
    """Whether something waits for the outcomes."""
    return selection.pending is None or not selection.pending.over


def outcomes_of(selection: Selection) -> list[Outcome]:
    """Return the list for the outcomes: that of the ask, or one to drop if the ask is over."""
    return selection.ask.outcomes if is_wanted(selection) else list(selection.ask.outcomes)
