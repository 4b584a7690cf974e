"""The guard of ENABLE_NEGATIVE_HITS=false: a give-back costs nothing, and gives nothing back."""

from collections.abc import Callable, Sequence

from ratelimitd.algorithms import LOOK, POST_PAID

from .seam import Ask


class NoGiveBacks:
    """Turns each give-back into a look: a cost of 0, never a charge or a question.

    Put this guard in front of all others. A service has it only with the setting, so a call costs no more without.

    Args:
        first: called with the first ask that has a give-back.

    Attributes:
        refused: charges that would have given hits back.
    """

    def __init__(self, first: Callable[[Ask], None]) -> None:
        self.refused = 0
        self._first = first

    def before(self, asks: Sequence[Ask], now: int) -> None:  # noqa: ARG002 -- as Guard has it
        """Replace costs below 0."""
        for ask in asks:
            for index, cost in enumerate(ask.costs):
                if cost < 0:
                    ask.costs[index] = 0
                    charge = ask.plan.charges[index]
                    if charge.flags >= POST_PAID:  # a cost of 0 would be a question
                        charge.flags = LOOK
                    self.refused += 1
                    if self.refused == 1:
                        self._first(ask)

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Do nothing: this guard acts on costs only."""
