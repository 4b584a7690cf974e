"""The ends of budgets: of asks, which fail then, and of script calls, which count against their node."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from ratelimitd.limiter import Ask, Failure
from ratelimitd.net.turns import Turns, Waiting

from .batch import Pending, ScriptCall, complete, reopen_dry_run

EXTRA_ROUNDS: Final = 2
"""Event-loop iterations between the end of a budget and a failure.

After a stall of this process the reply has already arrived, but a timer may run before the socket is read. Whatever
the order within an iteration, the socket is read once between the first and the second callback from now.
"""


class Deadlines:
    """Fails asks without a reply in time. A reply that has arrived in time counts, also while it waits for its turn.

    Args:
        turns: connections with replies that wait.
        over_budget: failure of a charge without a reply in time.
        fail: sets a failure in those of these outcomes that are still open.
    """

    def __init__(self, turns: Turns, over_budget: Failure, fail: Callable[[Ask, Iterable[int], Failure], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._turns = turns
        self._over_budget = over_budget
        self._fail = fail

    def arm(self, queue: Sequence[Pending], batch: Sequence[ScriptCall]) -> None:
        """Set one timer for the earliest end of a budget: of an ask, or of a call's node."""
        ends = [pending.deadline for pending in queue] + [call.due for call in batch]
        self._loop.call_at(min(ends), self._look, queue, batch, EXTRA_ROUNDS)

    def _look(self, queue: Sequence[Pending], batch: Sequence[ScriptCall], looks: int) -> None:
        """Wait until the sockets were read, and the replies of that read were passed on."""
        queue, batch = _open(queue), _unsettled(batch)
        if not queue and not batch:
            return
        if looks:
            self._loop.call_soon(self._look, queue, batch, looks - 1)
        else:
            self._passed_on(queue, batch, tuple(self._turns.waiting))

    def _passed_on(self, queue: Sequence[Pending], batch: Sequence[ScriptCall], waiting: Collection[Waiting]) -> None:
        """Wait for the replies that waited at the last look; later ones are too late."""
        waiting = [connection for connection in waiting if connection in self._turns.waiting]
        if waiting:
            self._loop.call_soon(self._passed_on, queue, batch, waiting)
        else:
            self._end(_open(queue), _unsettled(batch))

    def _end(self, queue: Sequence[Pending], batch: Sequence[ScriptCall]) -> None:
        """Fail asks and count calls whose budget has ended."""
        now = self._loop.time()
        late = [pending for pending in queue if pending.deadline <= now]
        for pending in late:
            reopen_dry_run(pending)
            self._fail(pending.ask, range(len(pending.ask.outcomes)), self._over_budget)
        complete(late)
        for call in batch:
            call.late = call.due <= now
        # Calls that were sent to a node together are late together, which is one failure.
        for node in {call.node for call in batch if call.late and call.node is not None}:
            node.failed(self._over_budget.message)
        for node in {call.node for call in batch if call.node is not None}:
            node.watch()
        queue, batch = _open(queue), _unsettled(batch)
        if queue or batch:
            self.arm(queue, batch)


def _open(queue: Iterable[Pending]) -> list[Pending]:
    return [pending for pending in queue if not pending.over]


def _unsettled(batch: Iterable[ScriptCall]) -> list[ScriptCall]:
    return [call for call in batch if not (call.settled or call.late)]
