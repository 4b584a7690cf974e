"""What callers have really used of a limit, whatever was reported of it."""

from collections import Counter
from typing import Any, NamedTuple

from ratelimitd.algorithms import KEYED_BY_WINDOW, LOOK, SECOND, take_step
from ratelimitd.policy import Limit


class Window(NamedTuple):
    """One window of a limit.

    Attributes:
        used: tokens of the answers that ended in it.
        most: usage of the limit at its highest, as its algorithm counts.
    """

    used: int
    most: int


class Ledger:
    """Usage of one limit.

    Each answer is recorded in full when it ends, with the algorithm of the limit, as if reports were complete.
    """

    def __init__(self, limit: Limit) -> None:
        if limit.rate is None:
            raise ValueError("an unlimited limit has no usage")
        self.limit = limit
        self._rate = limit.rate
        self._state: Any = None
        self._window = 0
        self._used: Counter[int] = Counter()
        self._most: dict[int, int] = {}

    def add(self, tokens: int, now: int) -> None:
        """Record an answer that ends now."""
        rate = self._rate
        window = now // rate.window
        if window != self._window and rate.algorithm in KEYED_BY_WINDOW:
            self._state = None
        self._window = window
        if tokens:
            self._state, decision = take_step(self._state, rate, tokens, now, LOOK)
            self._used[window] += tokens
            self._most[window] = max(self._most.get(window, 0), decision.before + tokens)

    def windows(self, seconds: float) -> list[Window]:
        """Return the windows that are complete after this time; the only one, if none is."""
        count = max(1, int(seconds * SECOND) // self._rate.window)
        return [Window(self._used[number], self._most.get(number, 0)) for number in range(count)]
