"""The ends of budgets: of asks, which fail then, and of script calls, which count against their node.

One timer serves all of them. It looks at the ticks with something open: replies mostly come in a fraction of a budget,
so it finds few, and no tick arms or cancels a timer of its own.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from ratelimitd.limiter import Ask, Failure
from ratelimitd.net.turns import Turns, Waiting

from .batch import complete, reopen_dry_run
from .call import Pending, ScriptCall, Tick
from .unsent import Unsent

EXTRA_ROUNDS: Final = 2
"""Event-loop iterations between the end of a budget and a failure.

After a stall of this process the reply has already arrived, but a timer may run before the socket is read. Whatever
the order within an iteration, the socket is read once between the first and the second callback from now.
"""

NEVER: Final = float("inf")


class Deadlines:
    """Fails asks without a reply in time. A reply that has arrived in time counts, also while it waits for its turn.

    Args:
        turns: connections with replies that wait.
        over_budget: failure of a charge without a reply in time.
        unsent: calls of which nothing was sent.
        fail: sets a failure in those of these outcomes that are still open.

    Attributes:
        ticks: those with something open, in the order in which they were sent.
    """

    def __init__(
        self, turns: Turns, over_budget: Failure, unsent: Unsent, fail: Callable[[Ask, Iterable[int], Failure], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._turns = turns
        self._over_budget = over_budget._replace(sent=True)
        self._not_sent = over_budget
        self._unsent = unsent
        self._fail = fail
        self._timer: asyncio.TimerHandle | None = None
        self._at = NEVER
        self.ticks: dict[Tick, None] = {}

    def watch(self, queue: Sequence[Pending], batch: Sequence[ScriptCall]) -> None:
        """Wait for these asks and calls, which were sent together. An ask leaves the tick that it was in before."""
        end = earliest(queue, batch)
        tick = Tick(self.ticks, queue, batch, end)
        for pending in queue:
            before, pending.tick = pending.tick, tick
            if before is not None:
                before.leave()
        for call in batch:
            call.tick = tick
        if end < self._at:
            self._wake(end)

    def _wake(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_at(at, self._woke)

    def _woke(self) -> None:
        """Look at the ticks in which a budget has ended, and sleep until the next one ends; forever if none is open."""
        self._timer, self._at = None, NEVER
        now = self._loop.time()
        ended = [tick for tick in self.ticks if tick.end <= now]
        for tick in ended:
            tick.end = NEVER  # until its end was looked at
        following = min([tick.end for tick in self.ticks], default=NEVER)
        if following < NEVER:
            self._wake(following)
        self._look(ended, EXTRA_ROUNDS)

    def _look(self, ticks: Sequence[Tick], looks: int) -> None:
        """Wait until the sockets were read, and the replies of that read were passed on."""
        ticks = [tick for tick in ticks if tick.open]
        if not ticks:
            return
        if looks:
            self._loop.call_soon(self._look, ticks, looks - 1)
        else:
            self._passed_on(ticks, tuple(self._turns.waiting))

    def _passed_on(self, ticks: Sequence[Tick], waiting: Collection[Waiting]) -> None:
        """Wait for the replies that waited at the last look; later ones are too late."""
        waiting = [connection for connection in waiting if connection in self._turns.waiting]
        if waiting:
            self._loop.call_soon(self._passed_on, ticks, waiting)
            return
        for tick in ticks:
            self._end(tick)

    def _end(self, tick: Tick) -> None:
        """Fail asks and count calls whose budget has ended."""
        now = self._loop.time()
        late = [pending for pending in _open(tick) if pending.deadline <= now]
        for pending in late:
            not_made = (pending.dry_run, *self._unsent.indices_of(pending))
            reopen_dry_run(pending)
            for indices in not_made:
                self._fail(pending.ask, indices, self._not_sent)
            self._fail(pending.ask, range(len(pending.ask.outcomes)), self._over_budget)
        complete(late)
        batch = _unsettled(tick)
        overdue = [call for call in batch if call.due <= now]
        for call in overdue:
            call.left()
        # Calls that were sent to a node together are late together, which is one failure.
        for node in {call.node for call in overdue if call.node is not None}:
            node.failed(self._over_budget.message)
        for node in {call.node for call in batch if call.node is not None}:
            node.watch()
        if tick.open:
            tick.pending, tick.calls = _open(tick), _unsettled(tick)
            tick.end = earliest(tick.pending, tick.calls)
            if tick.end < self._at:
                self._wake(tick.end)


def earliest(queue: Iterable[Pending], batch: Iterable[ScriptCall]) -> float:
    """Return the earliest end of a budget."""
    end = NEVER
    for pending in queue:
        end = min(end, pending.deadline)
    for call in batch:
        end = min(end, call.due)
    return end


def _open(tick: Tick) -> list[Pending]:
    return [pending for pending in tick.pending if pending.tick is tick]


def _unsettled(tick: Tick) -> list[ScriptCall]:
    return [call for call in tick.calls if call.tick is tick]
