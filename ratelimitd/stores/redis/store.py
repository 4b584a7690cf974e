"""Counters in Redis: all asks of an event-loop tick in one round trip, each within its own budget."""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import hiredis

from ratelimitd.limiter.seam import Ask, Done, Failure, FailureKind

from .link import Link, LinkError, Waiter, Word, open_link
from .options import RedisOptions
from .script import MAX_CHARGES, WIDTH, Portion, calls, classify, compose, open_portions, pack, unpack

log = logging.getLogger(__name__)

TOO_LATE: Final = Failure(FailureKind.TIMEOUT, "no answer from Redis within the budget")
TOO_MANY: Final = Failure(FailureKind.OVERLOADED, "too many charges are waiting for Redis")

LOOKS: Final = 2
"""Rounds of the event loop between the end of a budget and a failure.

After a stall of our own the reply is already there, but a timer may run before the socket is read. Whatever the
loop's order, the socket has been read once between the first and the second callback from now.
"""


class Waiting:
    """An ask on its way: ``calls`` replies are due before it is done; ``over`` once it was handed on."""

    __slots__ = ("ask", "calls", "deadline", "done", "over")

    def __init__(self, ask: Ask, deadline: float, done: Done) -> None:
        self.ask = ask
        self.deadline = deadline
        self.done = done
        self.calls = 0
        self.over = False


class Call:
    """One script call: its portions, and aligned with them whose they are."""

    __slots__ = ("arguments", "portions", "sent", "size", "waiting")

    def __init__(self, portions: list[Portion], waiting: list[Waiting], arguments: list[Word], sent: float) -> None:
        self.portions = portions
        self.waiting = waiting
        self.arguments = arguments
        self.sent = sent
        self.size = sum(len(indices) for _, indices in portions)


class RedisStore:
    """A ``Store`` in Redis. Counts of a whole life, as plain attributes, for whoever reads them.

    Attributes:
        round_trips: script calls that were answered.
        script_reloads: calls that found Redis without the script, and brought it along the second time.
        reconnects: connections opened after the first.
        in_flight: charges whose reply is due, those included that nobody waits for any more.
        failures: charges that failed, by kind.
        on_round_trip: called with the seconds of each answered call.
        on_edge: called with (whether Redis is connected, why) at each change, and for the first attempt.
    """

    def __init__(
        self,
        options: RedisOptions,
        on_round_trip: Callable[[float], None] = lambda _: None,
        on_edge: Callable[[bool, str], None] = lambda _up, _reason: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()  # to ask for it at each call costs a system call
        self.options = options
        self.on_round_trip = on_round_trip
        self.on_edge = on_edge
        self.round_trips = 0
        self.script_reloads = 0
        self.reconnects = 0
        self.in_flight = 0
        self.failures = dict.fromkeys(FailureKind, 0)
        self._script = compose()
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._links: list[Link] = []
        self._queue: list[Waiting] = []
        self._now = 0
        self._up: bool | None = None
        self._why_down = "not connected to Redis yet"
        self._opened = 0
        self._closed = False
        self._opening: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether Redis can be asked at this moment."""
        return bool(self._links)

    async def connect(self) -> bool:
        """Try to connect once and say whether it worked; if not, go on trying in the background."""
        up = await self._open()
        if not up:
            self._open_more()
        return up

    async def close(self) -> None:
        """Close every connection; what is under way fails as disconnected."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for link in tuple(self._links):
            link.give_up("closing down")

    def charge(self, asks: Sequence[Ask], now: int, done: Done) -> None:
        """See ``Store``. Sends nothing yet: the asks of one tick of the event loop share a round trip."""
        loop = self._loop
        spare = loop.time() + self.options.budget
        now_done = []
        for ask in asks:
            size = ask.outcomes.count(None)
            failure = self._refused(size) if size else None
            if failure is not None or not size:
                self._fail(ask, range(len(ask.outcomes)), failure)
                now_done.append(ask)
                continue
            self.in_flight += size
            if not self._queue:
                loop.call_soon(self._flush)
            self._queue.append(Waiting(ask, ask.deadline / 1e6 if ask.deadline else spare, done))
        self._now = max(self._now, now) if self._queue else now
        if now_done:
            done(now_done)

    def _refused(self, size: int) -> Failure | None:
        if not self._links:
            return Failure(FailureKind.DISCONNECTED, self._why_down)
        # A single ask is never too large by itself, so that no plan is refused for good.
        if self.in_flight and self.in_flight + size > self.options.max_in_flight:
            return TOO_MANY
        return None

    def _fail(self, ask: Ask, indices: Iterable[int], failure: Failure | None) -> None:
        """Fill the open outcomes among these with the failure."""
        for index in indices:
            if ask.outcomes[index] is None and failure is not None:
                ask.outcomes[index] = failure
                self.failures[failure.kind] += 1

    def _flush(self) -> None:
        """Send what this tick brought, in one write."""
        queue, self._queue, now, self._now = self._queue, [], self._now, 0
        batch = self._calls_of(queue, now)
        link = self._link_for(batch)
        if link is None:
            failure = TOO_MANY if self._links else Failure(FailureKind.DISCONNECTED, self._why_down)
            for call in batch:
                self._settle(call, failure)
            return
        self._await(queue)
        link.send([(self._evalsha(call), self._waiter(link, call)) for call in batch])

    def _calls_of(self, queue: list[Waiting], now: int) -> list[Call]:
        """Group the open charges into script calls."""
        owner = {id(waiting.ask): waiting for waiting in queue}
        sent = time.perf_counter()  # the loop's own clock stands still within a turn
        clock = now if self.options.clock == "host" else None
        jitter = int(random.random() * self.options.jitter * 1000)  # noqa: S311 -- spreads expiries, hides nothing
        batch = []
        for portions in calls(split(open_portions([waiting.ask for waiting in queue]))):
            whose = [owner[id(ask)] for ask, _ in portions]
            for waiting in whose:
                waiting.calls += 1
            keys, arguments = pack(portions, now, clock=clock, jitter=jitter)
            batch.append(Call(portions, whose, [len(keys), *keys, *arguments], sent))
        return batch

    def _link_for(self, batch: list[Call]) -> Link | None:  # noqa: ARG002 -- where a cluster chooses the node of the keys
        """Return the connection for these calls: the least busy; another is opened when none is idle."""
        ready = [link for link in self._links if not link.full]
        if not ready:
            return None
        link = min(ready, key=len)
        if len(link) and len(self._links) < self.options.pool_size:
            self._open_more()
        return link

    def _evalsha(self, call: Call) -> list[Word]:
        return ["EVALSHA", self._sha, *call.arguments]

    def _waiter(self, link: Link, call: Call) -> Waiter:
        return partial(self._replied, link, call)

    def _replied(self, link: Link, call: Call, reply: Any) -> None:
        """Take the reply to a call: the outcomes, an error of the whole call, or the loss of the connection."""
        if isinstance(reply, LinkError):
            self._settle(call, Failure(FailureKind.DISCONNECTED, str(reply)))
            return
        taken = time.perf_counter() - call.sent
        self.round_trips += 1
        self.on_round_trip(taken)
        if not isinstance(reply, hiredis.ReplyError):
            try:
                self._take(call, reply)
            except (TypeError, ValueError, IndexError):
                # Replies may be out of step with calls, so no further one of this connection is to be trusted.
                self._settle(call, Failure(FailureKind.PERMANENT, "Redis sent a reply that is not the script's"))
                link.give_up("Redis sent a reply that is not the script's")
            else:
                self._complete(call)
        elif str(reply).startswith("NOSCRIPT") and not link.lost and not all(w.over for w in call.waiting):
            # Redis says that it ran nothing, so this is the one call that may be sent a second time.
            self.script_reloads += 1
            link.send([(["EVAL", self._script, *call.arguments], self._waiter(link, call))])
        else:
            self._settle(call, classify(str(reply)))

    def _take(self, call: Call, reply: list[Any]) -> None:
        """Fill in what the reply says; asks that were too late get it in a copy that nobody reads."""
        portions = call.portions
        if any(waiting.over for waiting in call.waiting):
            portions = [
                (Ask(ask.plan, ask.costs) if waiting.over else ask, indices)
                for (ask, indices), waiting in zip(portions, call.waiting, strict=True)
            ]
        unpack(reply, portions)
        if len(reply) > 1 + WIDTH * call.size:
            for ask, indices in portions:
                for failure in (ask.outcomes[index] for index in indices):
                    if isinstance(failure, Failure):
                        self.failures[failure.kind] += 1

    def _settle(self, call: Call, failure: Failure) -> None:
        """Fail what is still open of a call."""
        for ask, indices in call.portions:
            self._fail(ask, indices, failure)
        self._complete(call)

    def _complete(self, call: Call) -> None:
        self.in_flight -= call.size
        for waiting in call.waiting:
            waiting.calls -= 1
        hand_on([waiting for waiting in call.waiting if waiting.calls == 0])

    def _await(self, batch: list[Waiting]) -> None:
        """Set one timer for the first budget of these to end."""
        loop = self._loop
        loop.call_at(min(waiting.deadline for waiting in batch), self._look_again, batch, LOOKS)

    def _look_again(self, batch: list[Waiting], looks: int) -> None:
        """Let the socket be read before the budgets that have ended are called ended."""
        batch = [waiting for waiting in batch if not waiting.over]
        if not batch:
            return
        if looks:
            self._loop.call_soon(self._look_again, batch, looks - 1)
            return
        now = self._loop.time()
        late = [waiting for waiting in batch if waiting.deadline <= now]
        for waiting in late:
            self._fail(waiting.ask, range(len(waiting.ask.outcomes)), TOO_LATE)
        hand_on(late)
        for link in tuple(self._links):
            if link.waited() > self.options.stale_after:
                link.give_up(f"Redis has not answered for {self.options.stale_after:g} s")
        if len(late) < len(batch):
            self._await([waiting for waiting in batch if not waiting.over])

    async def _open(self) -> bool:
        """Open one connection; say each edge once."""
        try:
            link = await open_link(self.options.address, self._script, self.options.connect_timeout, self._lost)
        except LinkError as problem:
            self._edge(bool(self._links), str(problem))
            return False
        if link.lost:
            return False
        self._links.append(link)
        self._opened += 1
        self.reconnects = self._opened - 1
        self._edge(True, f"connected to Redis at {self.options.address}")  # noqa: FBT003 -- the edge's direction
        return True

    def _open_more(self) -> None:
        """Open a connection in the background, and go on trying while there is none."""
        if self._opening is None and not self._closed:
            self._opening = self._loop.create_task(self._keep_opening())

    async def _keep_opening(self) -> None:
        pause = self.options.retry_first
        try:
            while not await self._open():
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 -- spreads hosts out
                pause = min(pause * 2, self.options.retry_most)
        finally:
            self._opening = None

    def _lost(self, link: Link) -> None:
        if link not in self._links:
            return
        self._links.remove(link)
        if not self._links and not self._closed:
            self._edge(False, link.lost)  # noqa: FBT003 -- the edge's direction
            self._open_more()

    def _edge(self, up: bool, reason: str) -> None:  # noqa: FBT001 -- the edge's direction
        if not up:
            self._why_down = reason
        if up is not self._up:
            self._up = up
            self.on_edge(up, reason)


def split(portions: Iterable[Portion]) -> list[Portion]:
    """Cut portions larger than a script call into several, unless they must be decided together."""
    pieces: list[Portion] = []
    for ask, indices in portions:
        if ask.atomic or len(indices) <= MAX_CHARGES:
            pieces.append((ask, indices))
        else:
            pieces += [(ask, indices[at : at + MAX_CHARGES]) for at in range(0, len(indices), MAX_CHARGES)]
    return pieces


def hand_on(finished: Iterable[Waiting]) -> None:
    """Hand these asks on unless they were before, those of one ``done`` as one group."""
    groups: dict[Done, list[Ask]] = {}
    for waiting in finished:
        if not waiting.over:
            waiting.over = True
            groups.setdefault(waiting.done, []).append(waiting.ask)
    for done, group in groups.items():
        try:
            done(group)
        except Exception:
            log.exception("an answer could not be given")
