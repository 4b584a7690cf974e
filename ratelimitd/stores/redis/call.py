"""Asks in flight, the script calls that carry them, and the ticks in which both were sent."""

import time
from collections.abc import Sequence

from ratelimitd.limiter import Ask, Done

from .encoding import Word
from .node import RedisNode

INDEPENDENT, ATOMIC, VETOED = range(3)

EVERY_KEY, NO_KEY, FIRST_KEY = -1, 0, 1
"""The keys that Redis is told of: all; none, if a cluster's node is asked over several slots; or the first."""


class Tick:
    """What was sent together and is still open. The last to leave it lets go of everything.

    Attributes:
        end: the earliest end of a budget in it, by the loop's clock.
        pending: asks that are not complete; some that are may be among them.
        calls: script calls without a reply, as above.
        open: their number.
    """

    __slots__ = ("_ticks", "calls", "end", "open", "pending")

    def __init__(
        self, ticks: "dict[Tick, None]", pending: "Sequence[Pending]", calls: "Sequence[ScriptCall]", end: float
    ) -> None:
        self._ticks = ticks
        self.pending = pending
        self.calls = calls
        self.end = end
        self.open = len(pending) + len(calls)
        ticks[self] = None

    def leave(self) -> None:
        """Note that one of them is complete."""
        self.open -= 1
        if not self.open:
            del self._ticks[self]


class Pending:
    """An ask in flight.

    Attributes:
        calls: script calls without a reply.
        deadline: end of its budget, by the loop's clock.
        over: whether it was completed.
        dry_run: indices of the charges that this round only checks, since they are in several slots and must pass
            together.
        charged: whether the second round, which charges them, was sent.
        domain, size: domain and number of its charges.
        tick: the tick that waits for it.
    """

    __slots__ = ("ask", "calls", "charged", "deadline", "domain", "done", "dry_run", "over", "size", "tick")

    def __init__(self, ask: Ask, deadline: float, done: Done, domain: bytes, size: int) -> None:
        self.ask = ask
        self.deadline = deadline
        self.done = done
        self.domain = domain
        self.size = size
        self.calls = 0
        self.over = False
        self.dry_run: Sequence[int] = ()
        self.charged = False
        self.tick: Tick | None = None


class Selection:
    """The charges of one ask that a script call takes.

    Attributes:
        indices: the charges. If one script call can use all keys, they are all that are open.
        mode: how the script treats them.
        pending: the ask in flight; None if nothing waits for it.
    """

    __slots__ = ("ask", "indices", "mode", "pending")

    def __init__(self, ask: Ask, indices: Sequence[int], mode: int, pending: Pending | None = None) -> None:
        self.ask = ask
        self.indices = indices
        self.mode = mode
        self.pending = pending


class Packed:
    """The words of a script call, and the charges that its reply decides.

    Attributes:
        keys: each counter once; first those that are only added to.
        declared: which keys Redis is told of: EVERY_KEY, NO_KEY or FIRST_KEY. It refuses a call with keys of several
            slots, and one of several keys that are not all at the node while their slot is on its way.
        arguments: the words after declared keys, or before others.
        counted: charges of which the script returns the count before; ``places`` has the key's place for each of them.
        counts: number of keys that are only added to.
        others: charges that the script decides, ``charges`` in total.
        held: number of those whose limits have holds.
        now: wall clock of the host, µs.
    """

    __slots__ = ("arguments", "charges", "counted", "counts", "declared", "held", "keys", "now", "others", "places")

    def __init__(self, now: int) -> None:
        self.now = now
        self.keys: list[bytes] = []
        self.declared = EVERY_KEY
        self.arguments: list[Word] = []
        self.counted: list[Selection] = []
        self.places: list[int] = []
        self.counts = 0
        self.others: list[Selection] = []
        self.charges = 0
        self.held = 0

    @property
    def words(self) -> list[Word]:
        """The words of EVALSHA after the script's name."""
        if self.declared == EVERY_KEY:
            return [len(self.keys), *self.keys, *self.arguments]
        return [self.declared, *self.keys[: self.declared], *self.arguments, *self.keys]


class ScriptCall:
    """One script call.

    Attributes:
        node: the node it was sent to; None while it waits to be sent, see ``Unsent``.
        selections: its charges, ``size`` in total.
        packed: the same as words.
        sent: time it was made, by ``time.perf_counter``.
        due: time by which the node should have replied, by the loop's clock.
        tries: times that it was not run: it was redirected, its keys were on their way, or the script was missing.
        tick: the tick that waits for it; None once it is settled or late.
    """

    __slots__ = ("due", "node", "packed", "selections", "sent", "size", "tick", "tries")

    def __init__(
        self, node: RedisNode | None, selections: list[Selection], packed: Packed, size: int, due: float
    ) -> None:
        self.node = node
        self.selections = selections
        self.packed = packed
        self.sent = time.perf_counter()  # the loop's own clock does not advance within an iteration
        self.due = due
        self.tries = 0
        self.size = size
        self.tick: Tick | None = None

    @property
    def now(self) -> int:
        """Wall clock of the host, µs, that it was packed with."""
        return self.packed.now

    @property
    def pending(self) -> list[Pending]:
        """The asks of its selections."""
        return [selection.pending for selection in self.selections if selection.pending is not None]

    @property
    def together(self) -> bool:
        """Whether some of its charges must pass together."""
        return any(selection.mode != INDEPENDENT for selection in self.selections)

    @property
    def unwanted(self) -> bool:
        """Whether all of its asks were completed."""
        return all(pending.over for pending in self.pending)

    def left(self) -> None:
        """Leave the tick: the reply has arrived, none will, or its lateness was counted."""
        tick, self.tick = self.tick, None
        if tick is not None:
            tick.leave()
