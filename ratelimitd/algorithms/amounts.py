"""What an answer in progress is worth, learnt from the answers that have settled.

Long answers are in progress for longer, so of those in progress at a time more are long than of all. If the time of an
answer grows with its cost, one in progress costs E[x²]/E[x] on average: the sum of squares divided by the sum. That is
learnt slowly. After a pause short answers settle first, and an amount that followed them would admit too many.
"""

from typing import Final

ANSWERS: Final = 4_096
"""Settlements after which all sums are halved: by simulation, 256 admit twice as much too much after a pause."""

START: Final = 8
"""Answers that the amount at the start counts for: one long answer does not change it much, and fifty do. An amount
that is far too large fades slowly, since squares weigh: one of 2,000 is 560 after 500 answers of 100."""


HOLDS_MOST: Final = 10_000
"""Holds on one counter: 1 MB in Redis, 2 MB here, and more is too much for one counter."""


def bounds_of(burst: int) -> tuple[int, int]:
    """Return the least and the largest amount that a request may hold of a limit that admits this much at once."""
    most = max(1, burst // 2)
    return min(most, max(1, -(-burst // HOLDS_MOST))), most


class Estimate:
    """What the settlements of one limit have told.

    Attributes:
        amount: what an answer in progress is worth, in hits.
        count: settlements that it is learnt from.
        most: hits that a cost counts as at most: those of the limit.
        gone: whether a reload has removed the limit, or its ``amount: auto``.
    """

    __slots__ = ("_squares", "_sum", "amount", "count", "gone", "most")

    def __init__(self, start: int, most: int) -> None:
        self.most = most
        self.gone = False
        self.amount = max(1, min(start, most))
        self.count = START
        # Not integers: the squares of costs in millionths of a unit of money exceed the range that is fast.
        self._sum = float(START * self.amount)
        self._squares = self._sum * self.amount

    @property
    def held(self) -> int:
        """What a request holds of the limit."""
        least, most = bounds_of(self.most)
        return max(least, min(self.amount, most))

    def learn(self, cost: int) -> None:
        """Take note of a settlement."""
        counted = float(max(1, min(cost, self.most)))
        self.count += 1
        self._sum += counted
        self._squares += counted * counted
        self.amount = int(self._squares / self._sum)
        if self.count >= ANSWERS:
            self.count //= 2
            self._sum /= 2
            self._squares /= 2
