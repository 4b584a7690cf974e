"""Counters in Redis: all asks of an event-loop tick in one round trip a server, each within its own budget."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import hiredis

from ratelimitd.limiter import Ask, Done, Failure, FailureKind

from .batch import Pending, ScriptCall, calls_of, charged_in_part, complete, end_dry_run, fill, packed, reopen_dry_run
from .cluster import Cluster
from .connection import RedisConnection, RedisConnectionError, Waiter, Word
from .errors import NOSCRIPT, TRYAGAIN, classify, meaning
from .in_flight import InFlight
from .node import Observer, RedirectTarget, RedisNode
from .options import ConnectOptions, RedisOptions
from .probe import PROBE, probe_of
from .script import Script, composed_script, open_selections
from .single import Sentinel, Single
from .topology import Split, Topology

log = logging.getLogger(__name__)

TOO_LATE: Final = Failure(FailureKind.TIMEOUT, "no reply from Redis within the store budget")
TOO_MANY: Final = Failure(FailureKind.OVERLOADED, "too many charges in flight to Redis")
NOWHERE: Final = Failure(FailureKind.TRANSIENT, "no cluster node serves the slot of this key")
SENT_AROUND: Final = Failure(FailureKind.TRANSIENT, "too many MOVED/ASK redirections")
BROKEN: Final = Failure(FailureKind.PERMANENT, "internal error")
NOT_THE_SCRIPTS: Final = "unexpected reply to EVALSHA; connection closed"

KINDS: Final[Mapping[str, Callable[..., Topology]]] = {"single": Single, "sentinel": Sentinel, "cluster": Cluster}

LOOKS: Final = 2
"""Rounds of the event loop between the end of a budget and a failure.

After a stall of our own the reply is already there, but a timer may run before the socket is read. Whatever the
loop's order, the socket has been read once between the first and the second callback from now.
"""


class RedisStore:
    """A ``Store`` in Redis. Counts of a whole life, as plain attributes, for whoever reads them.

    Attributes:
        round_trips: script calls that were answered.
        script_reloads: calls that found Redis without the script, and brought it along the second time.
        redirects: calls that a cluster sent elsewhere, by ``moved`` and ``ask``.
        torn: asks whose charges lie apart and were applied in part, although it should have been all or none.
        reconnects: connections opened after a server's first.
        breaker_opens: times that a server began to be left alone.
        failures: charges that failed, by kind.
        skew: seconds by which Redis' clock is ahead of ours, as of the last answer.
        observer: may be replaced.
    """

    def __init__(self, options: RedisOptions, observer: Observer | None = None, own: Script | None = None) -> None:
        self._loop = asyncio.get_running_loop()  # to ask for it at each call costs a system call
        self.options = options
        self.observer = observer or Observer()
        self.round_trips = 0
        self.script_reloads = 0
        self.redirects = {"moved": 0, "ask": 0}
        self.charged_in_part = 0
        self.reconnects = 0
        self.breaker_opens = 0
        self.failures = dict.fromkeys(FailureKind, 0)
        self.skew = 0.0
        self._script = own or composed_script()
        self._in_flight = InFlight(options.max_in_flight)
        self._topology = self._topology_of(options)
        self._alone = self._topology.alone
        self._queue: list[Pending] = []
        self._finished: list[Pending] = []
        self._again: list[tuple[Pending, int]] = []
        self._parked: dict[RedisNode, list[tuple[ScriptCall, bool]]] = {}
        self._now = 0
        self._why_down = "not connected to Redis yet"

    def _topology_of(self, options: RedisOptions) -> Topology:
        def made(redis: ConnectOptions) -> Topology:
            return KINDS[redis.deployment.kind](redis, self._script, options, self)

        second = options.per_second
        return made(options.main) if second is None else Split(made(options.main), made(second))

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """Each server, as it is known at this moment."""
        return self._topology.nodes

    @property
    def connected(self) -> bool:
        """Whether Redis can be asked at this moment: of two both, of a cluster some server."""
        return self._topology.connected

    @property
    def in_flight(self) -> int:
        """Charges whose reply is due, those included that nobody waits for any more."""
        return self._in_flight.charges

    async def connect(self) -> bool:
        """Try to connect once and say whether it worked; if not, go on trying in the background."""
        return await self._topology.connect()

    async def close(self) -> None:
        """Close every connection; what is under way fails as disconnected."""
        await self._topology.close()
        for node in tuple(self._parked):
            self.missed(node)

    def charge(self, asks: Sequence[Ask], now: int, done: Done) -> None:
        """See ``Store``. Sends nothing yet: the asks of one tick of the event loop share a round trip."""
        loop = self._loop
        begun = loop.time()
        spare = begun + self.options.budget
        refusal = self._refusal()
        now_done = []
        for ask in asks:
            size = ask.outcomes.count(None)
            deadline = ask.deadline / 1e6 if ask.deadline else spare
            domain = ask.plan.request.domain
            failure = refusal
            if deadline <= begun:
                failure = TOO_LATE  # nobody would hear the answer, so nothing is charged
            elif failure is None and size and not self._in_flight.take(domain, size):
                failure = TOO_MANY
            if failure is not None or not size:
                self._fail(ask, range(len(ask.outcomes)), failure)
                now_done.append(ask)
                continue
            if not self._queue:
                loop.call_soon(self._flush)
            self._queue.append(Pending(ask, deadline, done, domain, size))
        if self._queue:
            self._now = max(self._now, now)
        if now_done:
            done(now_done)

    def _refusal(self) -> Failure | None:
        if self._alone is not None:
            return self._alone.refusal
        if any(node.refusal is None for node in self._topology.nodes):
            return None
        return Failure(FailureKind.DISCONNECTED, self._why_down)

    def _fail(self, ask: Ask, indices: Iterable[int], failure: Failure | None) -> None:
        """Fill the open outcomes among these with the failure."""
        for index in indices:
            if ask.outcomes[index] is None and failure is not None:
                ask.outcomes[index] = failure
                self.failures[failure.kind] += ask.tag is not PROBE

    def _flush(self) -> None:
        """Send what this tick brought."""
        queue, self._queue, now, self._now = self._queue, [], self._now, 0
        self._dispatch(queue, now)
        self.on_read()

    def _dispatch(self, queue: list[Pending], now: int) -> None:
        """Send these asks: one write a server, and one timer for all."""
        due = self._loop.time() + self.options.budget
        try:
            batches = calls_of(queue, self._topology, self.options, now, due)
        except Exception:
            log.exception("failed to send a batch to Redis")
            self._give_up(queue)
            return
        self._await(queue, [call for batch in batches.values() for call in batch])
        for node, batch in batches.items():
            if node is None:
                self._settle(batch, NOWHERE)
            elif node.refusal is not None:
                self._settle(batch, node.refusal)
            else:
                self._send(node, batch)

    def _give_up(self, queue: Sequence[Pending]) -> None:
        """Fail asks that no call was made for, whatever the reason: nobody waits for ever."""
        for pending in queue:
            self._fail(pending.ask, range(len(pending.ask.outcomes)), BROKEN)
            self._in_flight.release(pending.domain, pending.size)
        self._finished += queue

    def _send(self, node: RedisNode, batch: Sequence[ScriptCall], *, asking: bool = False) -> None:
        connection = node.pick()
        if connection is None:
            self._settle(batch, node.refusal or TOO_MANY)
            return
        commands: list[tuple[Sequence[Word], Waiter]] = []
        for call in batch:
            if asking:
                commands.append((["ASKING"], _unheard))
            call.node = node
            commands.append(self._command(node, connection, call))
        connection.send(commands)

    def _command(self, node: RedisNode, connection: RedisConnection, call: ScriptCall) -> tuple[Sequence[Word], Waiter]:
        return ["EVALSHA", self._script.sha, *call.arguments], partial(self._replied, node, connection, call)

    def _replied(self, node: RedisNode, connection: RedisConnection, call: ScriptCall, reply: Any) -> None:
        """Take the reply to a call: the outcomes, an error of the whole call, or the loss of the connection."""
        if isinstance(reply, RedisConnectionError):
            self._settle([call], Failure(FailureKind.DISCONNECTED, str(reply)))
            return
        taken = time.perf_counter() - call.sent
        in_time = taken <= self.options.budget
        self.round_trips += 1
        self.observer.round_trip(taken, call.size)
        if isinstance(reply, hiredis.ReplyError):
            self._refused(node, connection, call, str(reply), in_time=in_time)
            return
        try:
            problem = self._take(call, reply)
        except (TypeError, ValueError, IndexError):
            # Replies may be out of step with calls, so no further one of this connection is to be trusted.
            self._settle([call], Failure(FailureKind.PERMANENT, NOT_THE_SCRIPTS))
            connection.give_up(NOT_THE_SCRIPTS)
            return
        self._judge(node, problem, in_time=in_time)
        self._complete([call])

    def _refused(
        self, node: RedisNode, connection: RedisConnection, call: ScriptCall, message: str, *, in_time: bool
    ) -> None:
        """Take an error of the whole call. Where Redis says that it ran nothing, the call is sent again."""
        if self._may_reload(connection, call, message):
            call.tries += 1
            self.script_reloads += 1
            load: Sequence[Word] = ["SCRIPT", "LOAD", self._script.text]
            connection.send([(load, _unheard), self._command(node, connection, call)])
            return
        detour = node.owner.redirect_for(node, message)
        if detour is not None:
            self._follow(call, detour)
            return
        if message.startswith(TRYAGAIN) and call.size > 1 and not call.together:
            self._send_apart(node, call)
            return
        self._judge(node, message, in_time=in_time)
        self._settle([call], classify(message))

    def _may_reload(self, connection: RedisConnection, call: ScriptCall, message: str) -> bool:
        """Whether Redis lacks the script alone: one that will not have it, however often, fails the call."""
        lacking = message.startswith(NOSCRIPT) and not connection.lost and not call.unwanted
        return lacking and call.tries < self.options.patience

    def _judge(self, node: RedisNode, problem: str, *, in_time: bool) -> None:
        """Let the breaker know what a reply says of its server; ``problem`` is the error in it, or empty."""
        meant = meaning(problem) if problem else None
        if meant is not None and meant.blamed:
            node.failed(problem)
        elif in_time:
            node.passed()
        if meant is not None and meant.misplaced:
            node.owner.on_stale(node)

    def _send_apart(self, node: RedisNode, call: ScriptCall) -> None:
        """Send the charges of a call again, each in one of its own."""
        call.settled = True
        pending_of = {id(ask): pending for (ask, _, _), pending in zip(call.selections, call.pending, strict=True)}
        apart = [(ask, [index], mode) for ask, indices, mode in call.selections for index in indices]
        batch = [each for one in apart for each in packed(node, [one], pending_of, self.options, call.now, call.due)]
        for pending in call.pending:
            pending.calls -= 1
        self._await(call.pending, batch)
        self._send(node, batch)

    def _follow(self, call: ScriptCall, detour: RedirectTarget) -> None:
        """Send a call where the cluster says, now or when there is a connection."""
        node, asking = detour
        call.node = None
        self.redirects["ask" if asking else "moved"] += 1
        call.tries += 1
        if call.unwanted:
            self._settle([call], TOO_LATE)
        elif call.tries > self.options.patience:
            self._settle([call], SENT_AROUND)
        elif node.connections:
            self._send(node, [call], asking=asking)
        else:
            self._parked.setdefault(node, []).append((call, asking))
            node.open_more()

    def _take(self, call: ScriptCall, reply: list[Any]) -> str:
        """Fill in what the reply says; return an error in it that its server is to blame for, or else empty."""
        now, failures = fill(call, reply)
        if self.options.clock == "redis":
            self.skew = (now - call.now) / 1e6
        for failure, somebodys in failures:
            self.failures[failure.kind] += somebodys and call.pending[0].ask.tag is not PROBE
        return next((failure.message for failure, _ in failures if meaning(failure.message).blamed), "")

    def _settle(self, batch: Sequence[ScriptCall], failure: Failure) -> None:
        """Fail what is still open of these calls."""
        for call in batch:
            for ask, indices, _ in call.selections:
                self._fail(ask, indices, failure)
        self._complete(batch)

    def _complete(self, batch: Sequence[ScriptCall]) -> None:
        """Note the asks whose last call this was, to be handed on; those only looked at are to be charged."""
        for call in batch:
            call.settled = True
            for pending in call.pending:
                pending.calls -= 1
                if pending.calls:
                    continue
                if pending.dry_run and end_dry_run(pending):
                    if pending.deadline > self._loop.time():
                        self._again.append((pending, call.now))
                        continue
                    self._fail(pending.ask, range(len(pending.ask.outcomes)), TOO_LATE)
                if pending.charged:
                    self.charged_in_part += charged_in_part(pending)
                self._in_flight.release(pending.domain, pending.size)
                self._finished.append(pending)

    def on_read(self) -> None:
        """See ``Watcher``: hand on what is finished, as one group whatever number of replies it came by."""
        if self._again:
            again, self._again = self._again, []
            self._dispatch([pending for pending, _ in again], max(now for _, now in again))
        if self._finished:
            finished, self._finished = self._finished, []
            complete(finished)

    def _await(self, queue: Sequence[Pending], batch: Sequence[ScriptCall]) -> None:
        """Set one timer for the first budget of these to end: of an ask, or of a server that was called."""
        ends = [pending.deadline for pending in queue] + [call.due for call in batch]
        self._loop.call_at(min(ends), self._look_again, queue, batch, LOOKS)

    def _look_again(self, queue: Sequence[Pending], batch: Sequence[ScriptCall], looks: int) -> None:
        """Let the socket be read before the budgets that have ended are called ended."""
        queue = [pending for pending in queue if not pending.over]
        batch = [call for call in batch if not (call.settled or call.late)]
        if not queue and not batch:
            return
        if looks:
            self._loop.call_soon(self._look_again, queue, batch, looks - 1)
            return
        now = self._loop.time()
        late = [pending for pending in queue if pending.deadline <= now]
        for pending in late:
            reopen_dry_run(pending)
            self._fail(pending.ask, range(len(pending.ask.outcomes)), TOO_LATE)
        complete(late)
        for call in batch:
            call.late = call.due <= now
        # What was sent to a server at once was late at once, which is one failure.
        for node in {call.node for call in batch if call.late and call.node is not None}:
            node.failed(TOO_LATE.message)
        for node in {call.node for call in batch if call.node is not None}:
            node.watch()
        queue = [pending for pending in queue if not pending.over]
        batch = [call for call in batch if not (call.settled or call.late)]
        if queue or batch:
            self._await(queue, batch)

    def probe(self, node: RedisNode) -> None:
        """See ``Watcher``."""
        asked = probe_of(node.probe_key)
        end = self._loop.time() + self.options.budget
        pending = Pending(asked, end, lambda _: None, b"", 1)
        self._in_flight.count(b"", 1)
        now = time.time_ns() // 1000
        batch = packed(node, open_selections([asked]), {id(asked): pending}, self.options, now, end)
        self._await([pending], batch)
        self._send(node, batch)
        self.on_read()

    def opened(self, node: RedisNode) -> None:
        """See ``Watcher``: send what a cluster sent there before there was a connection."""
        for call, asking in self._parked.pop(node, ()):
            if call.unwanted:
                self._settle([call], TOO_LATE)
            else:
                self._send(node, [call], asking=asking)
        self.on_read()

    def missed(self, node: RedisNode) -> None:
        """See ``Watcher``."""
        if node in self._parked:
            self._settle([call for call, _ in self._parked.pop(node)], node.refusal or TOO_LATE)
            self.on_read()

    def edge(self, name: str, up: bool, reason: str) -> None:  # noqa: FBT001 -- the edge's direction
        """See ``Watcher``."""
        if not up:
            self._why_down = reason
        self.observer.edge(name, up, reason)


def _unheard(_: object) -> None:
    """Take a reply that says nothing: the next one tells whether all went well."""
