"""What decides, shared by every edge of a process: the policy in force, the guards, and the store."""

from collections.abc import Callable, Sequence

from .plan import Planner
from .seam import Ask, Done, Guard, Store, decide


class Engine:
    """The parts that a decision needs.

    Attributes:
        planner: the policy in force; None until the first one is loaded. Swap it to reload.
        store: where counts live.
        guards: what stands before it, outermost first.
    """

    __slots__ = ("guards", "planner", "store")

    def __init__(self, store: Store, guards: Sequence[Guard]) -> None:
        self.planner: Planner | None = None
        self.store = store
        self.guards = guards

    def decide(
        self, asks: Sequence[Ask], now: int, done: Done, failed: Callable[[Sequence[Ask], Exception], None]
    ) -> None:
        """See ``seam.decide``."""
        decide(self.guards, self.store, asks, now, done, failed)
