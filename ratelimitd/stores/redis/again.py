"""Script calls that are sent again, since Redis said that it ran nothing: elsewhere, in parts, or a little later."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from ratelimitd.limiter import Failure, FailureKind

from .batch import packed
from .call import EVERY_KEY, FIRST_KEY, NO_KEY, ScriptCall, Selection
from .deadlines import Deadlines
from .node import RedirectTarget, RedisNode
from .options import RedisOptions
from .packing import rate_of
from .replies import is_wanted
from .topology import Topology
from .unsent import Unsent

NO_NODE: Final = Failure(FailureKind.TRANSIENT, "no cluster node serves the slot of this key")
TOO_MANY_REDIRECTS: Final = Failure(FailureKind.TRANSIENT, "too many MOVED/ASK redirections")
NOT_IN_TIME: Final = Failure(FailureKind.TIMEOUT, "its budget ended before it could be sent again")

PAUSE: Final = 0.002
"""Seconds before a call whose keys are on their way is sent again, times the attempts: time for a move of ten keys."""


class Sender(Protocol):
    """The store, as far as it sends calls.

    Attributes:
        topology: where the counters are.
        redirects: calls that a cluster redirected, by ``moved`` and ``ask``.
    """

    topology: Topology
    redirects: dict[str, int]

    def send(self, node: RedisNode, batch: Sequence[ScriptCall], *, asking: bool = False) -> None:
        """Send calls with one write."""

    def fail_calls(self, batch: Sequence[ScriptCall], failure: Failure) -> None:
        """Fail the open charges of calls."""

    def complete_calls(self, batch: Sequence[ScriptCall]) -> None:
        """Complete calls without a further look at their outcomes."""

    def on_read(self) -> None:
        """Complete the asks whose last call has ended."""


class Again:
    """Sends calls again, each as often as ``max_attempts`` says at most."""

    def __init__(self, sender: Sender, options: RedisOptions, unsent: Unsent, deadlines: Deadlines) -> None:
        self._loop = asyncio.get_running_loop()
        self._sender = sender
        self._options = options
        self._unsent = unsent
        self._deadlines = deadlines

    def apart(self, node: RedisNode, call: ScriptCall, apart: Sequence[Selection]) -> None:
        """Send charges of a call, which it did not make: in a call for each counter, which declares its keys."""
        batch = [each for one in apart for each in packed(node, [one], self._options, call.now, call.due)]
        self._instead(node, call, batch)

    def follow(self, call: ScriptCall, redirected: RedirectTarget, *, whole: bool) -> None:
        """Send a call to the node that the cluster names, now or once it is connected.

        A node that is about to get the slot refuses a call that declares several keys, as long as it lacks one. If the
        other node has none of them (``whole``), the call declares the first, and finds there what there is.
        """
        node, asking = redirected
        self._sender.redirects["ask" if asking else "moved"] += 1
        call.tries += 1
        if call.packed.declared != NO_KEY:
            call.packed.declared = FIRST_KEY if asking and whole else EVERY_KEY
        if call.unwanted:
            self._sender.fail_calls([call], NOT_IN_TIME)
        elif call.tries > self._options.max_attempts:
            self._sender.fail_calls([call], TOO_MANY_REDIRECTS)
        elif node.connections:
            self._sender.send(node, [call], asking=asking)
        else:
            self._unsent.park(node, call, asking=asking)
            node.open_more()

    def opened(self, node: RedisNode) -> None:
        """Send the calls that waited for a connection to this node."""
        for call, asking in self._unsent.parked(node):
            self._rest(node, call, asking=asking)

    def pause(self, call: ScriptCall) -> bool:
        """Send a call a little later, when its keys may have moved. Return whether that makes sense."""
        call.tries += 1
        pause = PAUSE * call.tries
        end = max([pending.deadline for pending in call.pending if not pending.over], default=0.0)
        if call.tries > self._options.max_attempts or self._loop.time() + pause >= end:
            return False
        self._unsent.pause(call, self._loop.call_later(pause, self._paused, call))
        return True

    def _paused(self, call: ScriptCall) -> None:
        """Send a call to the node that has its slot now."""
        self._unsent.paused(call)
        selection, name = call.selections[0], call.packed.keys[0]
        node, _ = self._sender.topology.placement_of(rate_of(selection.ask, selection.indices[0]), name)
        refusal = NO_NODE if node is None else node.refusal
        if node is None or refusal is not None:
            self._sender.fail_calls([call], refusal or NO_NODE)
        else:
            call.packed.declared = EVERY_KEY
            self._rest(node, call)
        self._sender.on_read()

    def _rest(self, node: RedisNode, call: ScriptCall, *, asking: bool = False) -> None:
        """Send a call that waited, without asks that are over: they were told that nothing was sent."""
        rest = [selection for selection in call.selections if is_wanted(selection)]
        if len(rest) == len(call.selections):
            self._sender.send(node, [call], asking=asking)
            return
        batch = packed(node, rest, self._options, call.now, call.due) if rest else []
        for each in batch:
            each.packed.declared = call.packed.declared
        self._instead(node, call, batch, asking=asking)
        self._sender.complete_calls([call])

    def _instead(self, node: RedisNode, call: ScriptCall, batch: Sequence[ScriptCall], *, asking: bool = False) -> None:
        """Send calls in place of one that was not run."""
        if not batch:
            return
        for each in batch:
            each.tries = call.tries + 1
        self._deadlines.watch([pending for pending in call.pending if not pending.over], batch)
        self._sender.send(node, batch, asking=asking)
