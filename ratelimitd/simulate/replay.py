"""The document of /live/what-if, made from that of /live/limit."""

from collections.abc import Generator, Mapping
from math import exp
from typing import Any, Final

from ratelimitd.algorithms import SECOND
from ratelimitd.policy import Limit, amount_in_words

from .changed import rate_of
from .hour import STEP, STEPS, Hour, KeyHits
from .what_if import Outcome, what_if

Document = dict[str, Any]

COUNTED: Final = 9
"""Steps for which active keys are counted: one to two minutes, on average a minute and a half."""


def replay(limit: Limit, changed: Limit, shown: Mapping[str, Any]) -> Generator[None, None, Document]:
    """Replay the hour of a document of /live/limit under two limits, in slices; return the document.

    Raises WhatIfError, before the first slice, if one of them cannot be replayed.
    """
    hour = hour_of(shown)
    found = yield from what_if(limit, changed, hour)
    return {
        "version": shown["version"],
        "time": shown["time"],
        "limit": shown["limit"],
        "step": STEP,
        "end": hour.end,
        "configured": _outcome(found.configured),
        "changed": _outcome(found.changed),
        "keys": found.keys,
        "exact": found.exact,
        "note": found.note,
    }


def _outcome(found: Outcome) -> Document:
    rate, limit = rate_of(found.limit), found.limit
    return {
        "summary": amount_in_words(limit),
        "algorithm": rate.algorithm,
        "requests_per_unit": limit.requests_per_unit,
        "unit": limit.unit.name.lower(),
        "unit_multiplier": limit.unit_multiplier,
        "window_seconds": rate.window / SECOND,
        "burst": rate.burst,
        "allowed": found.allowed,
        "denied": found.denied,
    }


def hour_of(shown: Mapping[str, Any]) -> Hour:
    """Return the hour of a document of /live/limit; of one without traffic, an hour without hits."""
    history = shown["history"]
    if history is None:
        return Hour(int(shown["time"]) // STEP * STEP, [0] * STEPS, [0] * STEPS, [], 0)
    denied = [sum(pair) for pair in zip(history["denied"], history["shadowed"], strict=True)]
    keys = [KeyHits(*(key[time]["hits"] for time in KeyHits._fields)) for key in shown["keys"]]
    hour = Hour(history["end"], history["allowed"], denied, keys, 0)
    if not shown["keys_error"]["share"]:
        return hour
    return hour._replace(others=_others(hour, shown["limit"]["active_keys"] or 0))


def _others(hour: Hour, active: int) -> int:
    """Return about how many keys of the hour are not listed.

    Active keys are those of the last minutes. N keys with m hits in that time, each of any of them, are N(1 - e^-m/N)
    active ones; where each hit is of a new key, there are as many as hits.
    """
    offered = hour.offered
    total = sum(offered) - sum(key.hour for key in hour.keys)
    hits = sum(offered[-COUNTED:]) - sum(key.minute for key in hour.keys) * COUNTED * STEP / 60
    seen = active - sum(key.minute > 0 for key in hour.keys)
    if total < 1 or seen < 1:
        return max(0, min(seen, total))
    low, high = float(min(seen, total)), float(total)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if middle * (1 - exp(-max(hits, 0.0) / middle)) > seen else (middle, high)
    return round(low)
