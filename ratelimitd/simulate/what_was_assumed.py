"""What a replay of rates assumed, in words, and whether that can have changed a number."""

from collections.abc import Sequence
from typing import Final

from ratelimitd.algorithms import KEYED_BY_WINDOW, SECOND, Rate
from ratelimitd.policy import Charging, Limit

from .bursts import Bursts
from .hour import STEP, STEPS, Hour, Replayed

LONG: Final = 600 * SECOND
"""A window from which on the empty counters at the start are worth a word: a sixth of the hour."""


def is_exact(hour: Hour, rates: Sequence[Rate]) -> bool:
    """Whether the numbers are those of the real requests, if each had one hit.

    So it is without hits; and with one key and windows of whole steps, of which the first begins with the hour or had
    no hits.
    """
    if not any(hour.offered):
        return True
    if len(hour.keys) != 1 or hour.others:
        return False
    return all(_in_whole_steps(hour, rate) for rate in rates)


def _in_whole_steps(hour: Hour, rate: Rate) -> bool:
    if rate.algorithm not in KEYED_BY_WINDOW or rate.window % (STEP * SECOND):
        return False
    before = -(hour.end - STEP * STEPS) % (rate.window // SECOND) // STEP
    return not any(hour.offered[:before])


def note(limit: Limit, changed: Limit, hour: Hour, denied: int, chosen: Replayed, bursts: Bursts) -> str:
    """Return what was assumed, one sentence. ``denied`` is what the replay denies under the configured limit."""
    said = [
        "replayed from rates, not from requests",
        f"hits of a key come in bursts of about {bursts.size:.0f} within a second, by how those of a minute vary"
        if bursts.size > 1
        else "each hit is a request of its own, at a random time of its 10 s",
        "its key is drawn by the shares of the last minute, the ten minutes and the hour",
        "hits of a key that are many in a step are spread evenly over it",
        "keys that are not listed have hits that fall by rank" if hour.others and hour.keys else "",
        f"{chosen.number} of {chosen.keys} keys are replayed and stand for the others"
        if chosen.number < chosen.keys
        else "",
        "counters are empty at the start of the hour" + _windows(limit, changed),
        "other limits of the requests, and retries that were made or left out, are not considered",
        *_kinds(limit),
        f"under the configured numbers this denies {denied} hits where {sum(hour.denied)} were denied",
    ]
    return "; ".join(each for each in said if each)


def _windows(limit: Limit, changed: Limit) -> str:
    long = any(each.rate is not None and each.rate.window >= LONG for each in (limit, changed))
    return ", so a long window denies less than it did" if long else ""


def _kinds(limit: Limit) -> list[str]:
    """Return what is not replayed of this kind of limit."""
    said = []
    if limit.charge is Charging.AFTER:
        said.append(
            "hits of this limit are known after the request, and are replayed as if they were known before: none of "
            "the requests that were refused, so a higher limit shows no more hits"
        )
    if limit.reserve is not None:
        said.append("what requests in progress hold (reserve) is not replayed")
    if limit.shadow_mode or limit.quota_mode:
        said.append("denied are hits that the limit denies, whatever its mode makes of that")
    return said
