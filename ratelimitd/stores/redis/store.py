"""The Redis store: all asks of an event-loop iteration in one round trip per node, each within its own budget."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import hiredis

from ratelimitd.limiter import Ask, Done, Failure, FailureKind
from ratelimitd.net.turns import TURN_COST, Turns

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
from .call import Pending, ScriptCall, Selection
from .connection import RedisConnection, RedisConnectionError, Waiter, ignore_reply
from .deadlines import Deadlines
from .deployment import topology_of
from .encoding import Word
from .errors import CROSSSLOT, NOSCRIPT, TRYAGAIN, classify, is_not_here, meaning, over_budget, refuses
from .in_flight import InFlight
from .node import Observer, RedirectTarget, RedisNode
from .options import RedisOptions
from .packing import ONLY, mode_of
from .probe import PROBE, probe_of
from .replies import unpack
from .script import Script, composed_script

log = logging.getLogger(__name__)

TOO_MANY_IN_FLIGHT: Final = Failure(FailureKind.OVERLOADED, "too many charges in flight to Redis (STORE_IN_FLIGHT)")
NO_NODE: Final = Failure(FailureKind.TRANSIENT, "no cluster node serves the slot of this key")
TOO_MANY_REDIRECTS: Final = Failure(FailureKind.TRANSIENT, "too many MOVED/ASK redirections")
INTERNAL_ERROR: Final = Failure(FailureKind.PERMANENT, "internal error")
UNEXPECTED_REPLY: Final = "unexpected reply to EVALSHA; connection closed"


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
        observer: may be replaced.
        topology: where the counters are.
    """

    def __init__(self, options: RedisOptions, observer: Observer | None = None, own: Script | None = None) -> None:
        self._loop = asyncio.get_running_loop()  # kept, since each get_running_loop() costs a system call
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
        self._over_budget = over_budget(options.budget)
        self.topology = topology_of(options, self._script, self)
        self._only_node = self.topology.only_node  # for refusals: also of a sharded one
        self.turns = Turns(self._loop)
        self._deadlines = Deadlines(self.turns, self._over_budget, self._fail)
        self._queue: list[Pending] = []
        self._finished: list[Pending] = []
        self._handing_on = False
        self._second_round: list[tuple[Pending, int]] = []
        self._parked: dict[RedisNode, list[tuple[ScriptCall, bool]]] = {}
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
        for node in tuple(self._parked):
            self.connect_failed(node)
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
                self._fail_calls(batch, NO_NODE)
            elif node.refusal is not None:
                self._fail_calls(batch, node.refusal)
            else:
                self._send(node, batch)

    def _fail_unsent(self, queue: Sequence[Pending]) -> None:
        """Fail asks for which no call could be made, so that no caller waits forever."""
        for pending in queue:
            self._fail(pending.ask, range(len(pending.ask.outcomes)), INTERNAL_ERROR)
            self._in_flight.release(pending.domain, pending.size)
        self._finished += queue

    def _send(self, node: RedisNode, batch: Sequence[ScriptCall], *, asking: bool = False) -> None:
        connection = node.pick()
        if connection is None:
            self._fail_calls(batch, node.refusal or TOO_MANY_IN_FLIGHT)
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
            self._fail_calls([call], Failure(FailureKind.DISCONNECTED, str(reply), sent=True))
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
            self._fail_calls([call], Failure(FailureKind.PERMANENT, UNEXPECTED_REPLY, sent=True))
            connection.close(UNEXPECTED_REPLY)
            return
        node.answered(problem, taken)
        if node.refusals.calls and has_passed(call):
            node.accepted(probe=is_probe(call))
        self._complete([call])

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
            self._follow(call, redirected)
            return
        if CROSSSLOT in message:
            node.owner.on_crossslot(node, message)
        if message.startswith((TRYAGAIN, CROSSSLOT)) and len(call.packed.keys) > 1 and not call.together:
            self._send_apart(node, call, by_counter(call))
            self._complete([call])
            return
        node.answered(message, taken)
        if refuses(message):
            node.refused(message, probe=is_probe(call))
        self._fail_calls([call], classify(message))

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

    def _send_apart(self, node: RedisNode, call: ScriptCall, apart: Sequence[Selection]) -> None:
        """Send charges of a call again, which it did not make: in a call for each counter, which declares its key."""
        if not apart:
            return
        batch = [each for one in apart for each in packed(node, [one], self.options, call.now, call.due)]
        self._deadlines.watch([pending for pending in call.pending if not pending.over], batch)
        self._send(node, batch)

    def _follow(self, call: ScriptCall, redirected: RedirectTarget) -> None:
        """Send a call to the node that the cluster names, now or once it is connected."""
        node, asking = redirected
        call.node = None
        self.redirects["ask" if asking else "moved"] += 1
        call.tries += 1
        if call.unwanted:
            self._fail_calls([call], self._over_budget)
        elif call.tries > self.options.max_attempts:
            self._fail_calls([call], TOO_MANY_REDIRECTS)
        elif node.connections:
            self._send(node, [call], asking=asking)
        else:
            self._parked.setdefault(node, []).append((call, asking))
            node.open_more()

    def _apply_reply(self, call: ScriptCall, reply: Any) -> str:
        """Set the outcomes in the reply. Return the first error in it that counts against the node, or empty."""
        now, failures = unpack(reply, call.packed)
        if self.options.clock == "redis":
            self.skew = (now - call.now) / 1e6
        if not failures:
            return ""
        if call.node is not None and not call.packed.declared:
            failures = [each for each in failures if not is_not_here(each[0].message)]
            self._send_apart(call.node, call, reopen_not_here(call))
        for failure, counted in failures:
            self.failures[failure.kind] += counted and not is_probe(call)
        refusal = next((failure.message for failure, _ in failures if refuses(failure.message)), "")
        if refusal and call.node is not None and not has_passed(call):
            call.node.refused(refusal, probe=is_probe(call))
        return next((failure.message for failure, _ in failures if meaning(failure.message).node_fault), "")

    def _fail_calls(self, batch: Sequence[ScriptCall], failure: Failure) -> None:
        """Fail the open charges of these calls."""
        for call in batch:
            for selection in call.selections:
                self._fail(selection.ask, selection.indices, failure)
        self._complete(batch)

    def _complete(self, batch: Sequence[ScriptCall]) -> None:
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
        self._send(node, batch)
        self.on_read()

    def opened(self, node: RedisNode) -> None:
        """See ``Watcher``: send the calls that were redirected to the node before it had a connection."""
        for call, asking in self._parked.pop(node, ()):
            if call.unwanted:
                self._fail_calls([call], self._over_budget)
            else:
                self._send(node, [call], asking=asking)
        self.on_read()

    def connect_failed(self, node: RedisNode) -> None:
        """See ``Watcher``."""
        if node in self._parked:
            self._fail_calls([call for call, _ in self._parked.pop(node)], node.refusal or self._over_budget)
            self.on_read()
