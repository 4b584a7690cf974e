"""The Redis store: all asks of an event-loop iteration in one round trip per node, each within its own budget."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import hiredis

from ratelimitd.limiter import Ask, Done, Failure, FailureKind
from ratelimitd.net.turns import TURN_COST, Turns

from .again import NO_NODE, Again
from .batch import (
    by_counter,
    calls_of,
    charged_in_part,
    complete,
    end_dry_run,
    has_passed,
    is_probe,
    packed,
    reopen_not_here,
)
from .call import NO_KEY, Pending, ScriptCall, Selection
from .connection import RedisConnection, RedisConnectionError, Waiter, ignore_reply
from .deadlines import Deadlines
from .deployment import topology_of
from .encoding import Word
from .errors import CROSSSLOT, NOSCRIPT, TRYAGAIN, WHOLE_ASK, classify, is_not_here, meaning, over_budget, refuses
from .in_flight import InFlight
from .node import Observer, RedisNode
from .options import RedisOptions
from .packing import ONLY, mode_of
from .probe import PROBE, probe_of
from .replies import holds_of, late_holds, unpack
from .script import Script, composed_script
from .unsent import Unsent

log = logging.getLogger(__name__)

TOO_MANY_IN_FLIGHT: Final = Failure(FailureKind.OVERLOADED, "too many charges in flight to Redis (STORE_IN_FLIGHT)")
CLOSED: Final = Failure(FailureKind.DISCONNECTED, "shutting down")
INTERNAL_ERROR: Final = Failure(FailureKind.PERMANENT, "internal error")
UNEXPECTED_REPLY: Final = "unexpected reply to EVALSHA; connection closed"

Left = Callable[[Sequence[tuple[Ask, int]], bool], None]
"""Receives charges whose holds no answer names, and whether they took them for certain. Else they may have, or may yet:
a server that was lost may still have the call."""


class RedisStore:
    """A ``Store`` in Redis. Its counters are plain attributes, counted since the store was created.

    Attributes:
        turns: connections with replies that wait.
        round_trips: script calls that received a reply.
        script_reloads: calls that found the script missing, and were sent again with it.
        redirects: calls that a cluster redirected, by ``moved`` and ``ask``.
        charged_in_part: all-or-nothing asks over several slots of which only a part was charged.
        reconnects: connections opened after the first one of a node.
        breaker_opens: openings of circuit breakers.
        failures: failed charges, by kind.
        skew: seconds by which Redis' clock is ahead of this host's, as of the last reply.
        left: called with charges whose holds nothing else will release; may be replaced.
        observer: may be replaced.
        topology: where the counters are.
    """

    def __init__(self, options: RedisOptions, observer: Observer | None = None, own: Script | None = None) -> None:
        self._loop = asyncio.get_running_loop()  # kept, since each get_running_loop() costs a system call
        self.options = options
        self.observer = observer or Observer()
        self.left: Left = ignore_left
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
        self._over_budget = over_budget(options.budget)
        self.topology = topology_of(options, self._script, self)
        self._only_node = self.topology.only_node  # for refusals: also of a sharded one
        self.turns = Turns(self._loop)
        self._unsent = Unsent()
        self._deadlines = Deadlines(self.turns, self._over_budget, self._unsent, self._fail)
        self._again = Again(self, options, self._unsent, self._deadlines)
        self._queue: list[Pending] = []
        self._finished: list[Pending] = []
        self._handing_on = False
        self._second_round: list[tuple[Pending, int]] = []
        self._now = 0

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """All nodes that are currently known."""
        return self.topology.nodes

    @property
    def connected(self) -> bool:
        """Whether Redis accepts calls: with REDIS_PERSECOND both deployments, of a cluster at least one node."""
        return self.topology.connected

    @property
    def in_flight(self) -> int:
        """Charges without a reply, including those whose budget has ended."""
        return self._in_flight.charges

    async def connect(self) -> bool:
        """Try to connect once. Return whether that succeeded; if not, keep trying in the background."""
        return await self.topology.connect()

    async def close(self) -> None:
        """Close every connection; charges in flight fail as disconnected."""
        await self.topology.close()
        self.fail_calls(self._unsent.take_all(), CLOSED)
        finished, self._finished = self._finished, []
        complete(finished)

    def charge(self, asks: Sequence[Ask], now: int, done: Done) -> None:
        """See ``Store``. Sends nothing yet: the asks of one event-loop iteration share a round trip."""
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
                failure = self._over_budget  # no caller would receive the answer, so nothing is charged
            elif failure is None and size and not self._in_flight.take(domain, size):
                failure = TOO_MANY_IN_FLIGHT
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
        if self._only_node is not None:
            return self._only_node.refusal
        if any(node.refusal is None for node in self.topology.nodes):
            return None
        return Failure(FailureKind.DISCONNECTED, self.topology.trouble)

    def _fail(self, ask: Ask, indices: Iterable[int], failure: Failure | None) -> None:
        """Set the failure in those of these outcomes that are still open."""
        for index in indices:
            if ask.outcomes[index] is None and failure is not None:
                ask.outcomes[index] = failure
                self.failures[failure.kind] += ask.tag is not PROBE

    def _flush(self) -> None:
        """Send the asks of this event-loop iteration."""
        queue, self._queue, now, self._now = self._queue, [], self._now, 0
        self._dispatch(queue, now)
        self.on_read()

    def _dispatch(self, queue: list[Pending], now: int) -> None:
        """Send these asks with one write per node, and set one timer for all of them."""
        due = self._loop.time() + self.options.budget
        try:
            batches = calls_of(queue, self.topology, self.options, now, due)
        except Exception:
            log.exception("failed to send a batch to Redis")
            self._fail_unsent(queue)
            return
        self._deadlines.watch(queue, [call for batch in batches.values() for call in batch])
        for node, batch in batches.items():
            if node is None:
                self.fail_calls(batch, NO_NODE)
            elif node.refusal is not None:
                self.fail_calls(batch, node.refusal)
            else:
                self.send(node, batch)

    def _fail_unsent(self, queue: Sequence[Pending]) -> None:
        """Fail asks for which no call could be made, so that no caller waits forever."""
        for pending in queue:
            self._fail(pending.ask, range(len(pending.ask.outcomes)), INTERNAL_ERROR)
            self._in_flight.release(pending.domain, pending.size)
        self._finished += queue

    def send(self, node: RedisNode, batch: Sequence[ScriptCall], *, asking: bool = False) -> None:
        """Send these calls with one write; ``asking``: each with ASKING."""
        connection = node.pick()
        if connection is None:
            self.fail_calls(batch, node.refusal or TOO_MANY_IN_FLIGHT)
            return
        commands: list[tuple[Sequence[Word], Waiter]] = []
        for call in batch:
            if asking:
                commands.append((["ASKING"], ignore_reply))
            call.node = node
            commands.append(self._command(node, connection, call))
        connection.send(commands)

    def _command(self, node: RedisNode, connection: RedisConnection, call: ScriptCall) -> tuple[Sequence[Word], Waiter]:
        return ["EVALSHA", self._script.sha, *call.packed.words], partial(self._on_reply, node, connection, call)

    def _on_reply(self, node: RedisNode, connection: RedisConnection, call: ScriptCall, reply: Any) -> None:
        """Handle the reply to a call: outcomes, an error of the call, or the loss of the connection."""
        if isinstance(reply, RedisConnectionError):
            self.fail_calls([call], Failure(FailureKind.DISCONNECTED, str(reply), sent=True))
            return
        taken = connection.read_at - call.sent
        self.round_trips += 1
        self.observer.round_trip(taken, call.size)
        if isinstance(reply, hiredis.ReplyError):
            self._on_error(node, connection, call, str(reply), taken)
            return
        try:
            problem = self._apply_reply(call, reply)
        except (TypeError, ValueError):
            # Replies may be out of step with calls, so no further reply on this connection can be trusted.
            self.fail_calls([call], Failure(FailureKind.PERMANENT, UNEXPECTED_REPLY, sent=True))
            connection.close(UNEXPECTED_REPLY)
            return
        node.answered(problem, taken)
        if node.refusals.calls and has_passed(call):
            node.accepted(probe=is_probe(call))
        self.complete_calls([call])

    def _on_error(
        self, node: RedisNode, connection: RedisConnection, call: ScriptCall, message: str, taken: float
    ) -> None:
        """Handle an error of a whole call. If Redis reports that it ran nothing, the call is sent again."""
        if self._should_load_script(connection, call, message):
            call.tries += 1
            self.script_reloads += 1
            self._load_script(node, connection, call)
            return
        redirected = node.owner.redirect_for(node, message)
        if redirected is not None:
            self._again.follow(call, redirected, whole=connection.version >= WHOLE_ASK)
            return
        if CROSSSLOT in message:
            node.owner.on_crossslot(node, message)
        if message.startswith((TRYAGAIN, CROSSSLOT)) and not call.together:
            apart = by_counter(call)
            if len(apart) != 1 or len(call.selections) > 1:  # else it would be the same call
                self._again.apart(node, call, apart)
                self.complete_calls([call])
                return
        if message.startswith(TRYAGAIN) and self._again.pause(call):
            return
        node.answered(message, taken)
        if refuses(message):
            node.refused(message, probe=is_probe(call))
        self.fail_calls([call], classify(message))

    def _should_load_script(self, connection: RedisConnection, call: ScriptCall, message: str) -> bool:
        """Whether to load the script and call again; a Redis that loses it each time fails the call in the end."""
        lacking = message.startswith(NOSCRIPT) and not connection.lost and not call.unwanted
        return lacking and call.tries < self.options.max_attempts

    def _load_script(self, node: RedisNode, connection: RedisConnection, call: ScriptCall) -> None:
        """Send a call again with the script: what a proxy makes of SCRIPT LOAD need not reach the server of the key."""
        if node.owner.sharded:
            words: Sequence[Word] = ["EVAL", self._script.text, *call.packed.words]
            connection.send([(words, partial(self._on_reply, node, connection, call))])
        else:
            load: Sequence[Word] = ["SCRIPT", "LOAD", self._script.text]
            connection.send([(load, ignore_reply), self._command(node, connection, call)])

    def _apply_reply(self, call: ScriptCall, reply: Any) -> str:
        """Set the outcomes in the reply. Return the first error in it that counts against the node, or empty."""
        now, failures = unpack(reply, call.packed)
        if call.packed.held and (late := late_holds(reply, call.packed)):
            self.left(late, True)  # noqa: FBT003 -- see Left
        if self.options.clock == "redis":
            self.skew = (now - call.now) / 1e6
        if not failures:
            return ""
        if call.node is not None and call.packed.declared == NO_KEY and call.tries <= self.options.max_attempts:
            failures = [each for each in failures if not is_not_here(each[0].message)]
            self._again.apart(call.node, call, reopen_not_here(call))
        for failure, counted in failures:
            self.failures[failure.kind] += counted and not is_probe(call)
        refusal = next((failure.message for failure, _ in failures if refuses(failure.message)), "")
        if refusal and call.node is not None and not has_passed(call):
            call.node.refused(refusal, probe=is_probe(call))
        return next((failure.message for failure, _ in failures if meaning(failure.message).node_fault), "")

    def fail_calls(self, batch: Sequence[ScriptCall], failure: Failure) -> None:
        """Fail the open charges of these calls."""
        for call in batch:
            for selection in call.selections:
                self._fail(selection.ask, selection.indices, failure)
            if failure.sent and call.packed.held and (asked := holds_of(call)):
                self.left(asked, False)  # noqa: FBT003 -- see Left
        self.complete_calls(batch)

    def complete_calls(self, batch: Sequence[ScriptCall]) -> None:
        """Collect asks whose last call this was, for ``on_read``; a dry run is followed by the charge."""
        for call in batch:
            call.left()
            for selection in call.selections:
                pending = selection.pending
                if pending is None:
                    continue
                pending.calls -= 1
                if pending.calls:
                    continue
                if pending.dry_run and end_dry_run(pending):
                    if pending.deadline > self._loop.time():
                        self._second_round.append((pending, call.now))
                        continue
                    self._fail(pending.ask, range(len(pending.ask.outcomes)), self._over_budget)
                if pending.charged:
                    self.charged_in_part += charged_in_part(pending)
                self._in_flight.release(pending.domain, pending.size)
                self._finished.append(pending)

    def on_read(self) -> None:
        """See ``Watcher``: complete the finished asks as one group, however many replies they took."""
        if self._second_round:
            again, self._second_round = self._second_round, []
            self._dispatch([pending for pending, _ in again], max(now for _, now in again))
        if self._finished and not self._handing_on:
            self._hand_on()

    def _hand_on(self) -> None:
        """Complete finished asks as far as a turn has room: a lost connection ends thousands at once."""
        finished, count, room = self._finished, 0, TURN_COST
        while room > 0 and count < len(finished):
            room -= finished[count].size
            count += 1
        self._finished = finished[count:]
        self._handing_on = bool(self._finished)
        if self._handing_on:
            self._loop.call_soon(self._hand_on)
        complete(finished[:count])

    def probe(self, node: RedisNode) -> None:
        """See ``Watcher``."""
        asked = probe_of(node.probe_key)
        end = self._loop.time() + self.options.budget
        pending = Pending(asked, end, lambda _: None, b"", 1)
        self._in_flight.count(b"", 1)
        now = time.time_ns() // 1000
        batch = packed(node, [Selection(asked, ONLY, mode_of(asked), pending)], self.options, now, end)
        self._deadlines.watch([pending], batch)
        self.send(node, batch)
        self.on_read()

    def opened(self, node: RedisNode) -> None:
        """See ``Watcher``: send the calls that were redirected to the node before it had a connection."""
        self._again.opened(node)
        self.on_read()

    def connect_failed(self, node: RedisNode) -> None:
        """See ``Watcher``."""
        parked = self._unsent.parked(node)
        if parked:
            self.fail_calls([call for call, _ in parked], node.refusal or self._over_budget)
            self.on_read()


def ignore_left(_charges: Sequence[tuple[Ask, int]], _certain: bool) -> None:
    """Leave the holds until they expire."""
