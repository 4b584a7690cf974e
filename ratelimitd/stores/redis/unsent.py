"""Script calls that no server has run and that are on no connection: they wait for one, or for keys on their way."""

import asyncio
from collections.abc import Iterator, Sequence

from .call import Pending, ScriptCall
from .node import RedisNode


class Unsent:
    """The calls that wait, for their nodes and for the ends of budgets.

    A charge in them was certainly not made. The end of a budget says so, and then a call is sent without that ask.
    """

    def __init__(self) -> None:
        self._parked: dict[RedisNode, list[tuple[ScriptCall, bool]]] = {}
        self._paused: dict[ScriptCall, asyncio.TimerHandle] = {}
        self._calls: dict[Pending, list[ScriptCall]] = {}

    def park(self, node: RedisNode, call: ScriptCall, *, asking: bool) -> None:
        """Keep a call until the node has a connection."""
        self._parked.setdefault(node, []).append((call, asking))
        self._add(call)

    def parked(self, node: RedisNode) -> Sequence[tuple[ScriptCall, bool]]:
        """Take the calls that wait for a connection to a node; each with whether it needs ASKING."""
        calls = self._parked.pop(node, [])
        for call, _ in calls:
            self._remove(call)
        return calls

    def pause(self, call: ScriptCall, timer: asyncio.TimerHandle) -> None:
        """Keep a call until its timer ends."""
        self._paused[call] = timer
        self._add(call)

    def paused(self, call: ScriptCall) -> None:
        """Take a call whose timer has ended."""
        del self._paused[call]
        self._remove(call)

    def take_all(self) -> list[ScriptCall]:
        """Take every call; the timers are cancelled."""
        for timer in self._paused.values():
            timer.cancel()
        taken = [*self._paused, *[call for calls in self._parked.values() for call, _ in calls]]
        self._parked, self._paused, self._calls = {}, {}, {}
        return taken

    def indices_of(self, pending: Pending) -> Iterator[Sequence[int]]:
        """Yield the charges of an ask that wait, by call."""
        for call in self._calls.get(pending, ()):
            for selection in call.selections:
                if selection.pending is pending:
                    yield selection.indices

    def _add(self, call: ScriptCall) -> None:
        call.node = None
        for pending in dict.fromkeys(call.pending):
            self._calls.setdefault(pending, []).append(call)

    def _remove(self, call: ScriptCall) -> None:
        for pending in dict.fromkeys(call.pending):
            calls = self._calls[pending]
            calls.remove(call)
            if not calls:
                del self._calls[pending]
