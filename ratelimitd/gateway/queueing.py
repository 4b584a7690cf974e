"""Lets requests wait that a limit with a ``queue`` denies: the timers around ``limiter.lines``, and what they cost.

A waiting request holds nothing: when its turn comes it asks for all of its limits again, all or nothing, and a denial
costs nothing. Its body is not read meanwhile.
"""

import asyncio
import random
import time
from collections import Counter, deque
from itertools import islice
from typing import Final

from ratelimitd.algorithms import SECOND, Decision, Rate, is_by_holds
from ratelimitd.limiter import (
    Answer,
    Ask,
    Engine,
    Line,
    Lines,
    Remembered,
    Waiter,
    blocking,
    is_too_late,
    limit_name,
)
from ratelimitd.policy import network_of

from .waiting import DENIED, DRAINED, FAILED, FULL, LEFT, REFUSED, SERVED, TIMED_OUT, TOO_LATE, QueueMetrics, Waiting

AT_ONCE: Final = 20
"""Requests that ask again between two turns of the event loop, and may be forwarded: about 2 ms of work."""

WOKEN_AT_ONCE: Final = 500
"""Lines that are told to go on between two turns of the event loop: 1 ms."""

CLIENT_BITS: Final = 64
"""Bits of an IPv6 address that a client shares with no other."""


class Queueing:
    """The waiting requests of a proxy.

    Args:
        engine: decides.
        shared: whether other processes use its store.

    Attributes:
        lines: the requests that wait now.
        metrics: their counters.
    """

    def __init__(self, engine: Engine, *, shared: bool = False) -> None:
        self.lines = Lines(0)
        self.metrics = QueueMetrics()
        self._engine = engine
        self._shared = shared
        self._ready: dict[Line, None] = {}
        self._pumping = False
        self._timers: dict[Line, asyncio.TimerHandle] = {}
        self._closed = False

    def begin(self, request: Waiting, ask: Ask) -> None:
        """Decide a request that can wait; behind those that wait already."""
        index = self.lines.behind(ask)
        if index is None:
            self._ask(request, ask)
        else:
            self._wait(request, ask, index)

    def leave(self, request: Waiting) -> None:
        """Learn that a request is over: its client left, or it was answered."""
        if not request.over:
            self._end(request, LEFT)

    def freed(self, ask: Ask) -> None:
        """Learn that what an ask held is free: the first in line for it may have it."""
        if len(self.lines):
            for charge in ask.plan.charges:
                line = None if charge.hold is None else self.lines.at(charge.key)
                if line is not None:
                    self._wake(line)

    def wake(self) -> None:
        """Let all lines ask, since another policy is in force."""
        self._wake_some(deque(self.lines))

    def close(self) -> None:
        """Let no request wait any more; those that do are answered."""
        self._closed = True
        self._drop_some()

    def depths(self) -> Counter[str]:
        """Return how many requests wait for each limit; 0 for one for which some have waited."""
        found = Counter(dict.fromkeys((name for name, _ in self.metrics.ended), 0))
        for line in self.lines:
            found[line.name] += len(line)
        return found

    # a request

    def _ask(self, request: Waiting, ask: Ask) -> None:
        ask.tag, ask.waits, ask.atomic = request, True, True
        self._engine.decide((ask,), _wall(), self._answered, self._failed)

    def _answered(self, ask: Ask, answer: Answer) -> None:
        request: Waiting = ask.tag
        line, request.turn = request.turn, None
        if request.over:
            self._engine.release(ask, _wall())
            self.freed(ask)
        elif not answer.over:
            self._end(request, SERVED if answer.failure is None else FAILED)
            request.decided(ask, answer)
        elif (index := blocking(ask)) is None:
            self._end(request, DENIED)
            self._engine.count(ask, answer, _wall())
            request.decided(ask, answer)
        elif request.waiter is not None and line is not None and ask.plan.charges[index].key == line.key:
            self._stay(request, line, ask, index)
        else:
            self._wait(request, ask, index)
        if line is not None:
            line.asking = False
            self._go_on(line)

    def _failed(self, request: Waiting, error: Exception) -> None:
        line, request.turn = request.turn, None
        if not request.over:
            self._end(request, FAILED)
            request.failed(None, error)
        if line is not None:
            line.asking = False
            self._go_on(line)

    def _wait(self, request: Waiting, ask: Ask, index: int) -> None:
        """Put a request at the end of the line for a charge of its ask, if there is time and room."""
        charge, now = ask.plan.charges[index], _now()
        queue, rate = charge.limit.queue, charge.rule.rate
        if self._closed or queue is None or rate is None:
            self._drop(request)
            return
        request.charge, request.cost, request.name = charge, max(1, ask.costs[index]), limit_name(ask, index)
        since = request.since or now
        left, line = since + queue.timeout - now, self.lines.at(charge.key)
        if is_too_late(ask, index, line, left, now):
            self._refuse(request, TOO_LATE, _wait_of(ask, index) if line is None else _expected(request, line, now))
            return
        client = network_of(request.client.encode(), CLIENT_BITS).decode()
        other: Waiting | None = None
        if self.lines.is_full(charge.key, queue):
            out = self.lines.giving_way(client, charge.key, queue)
            if out is None:
                self._refuse(request, FULL, _wait_of(ask, index) if line is None else _expected(request, line, now))
                return
            other = out.tag
            self._quit(other)
        self._quit(request)
        waiter = Waiter(request, client, tuple([each.key for each in ask.plan.charges]))
        line = self.lines.join(waiter, charge.key, request.name, now)
        request.waiter, request.since = waiter, since
        request.timer = asyncio.get_running_loop().call_later(max(0, left) / SECOND, self._expire, request)
        if len(line) == 1:
            self._denied(line, ask, index, now)
            self._go_on(line)
        if other is not None:
            its = None if other.charge is None else self.lines.at(other.charge.key)
            self._refuse(other, FULL, SECOND if its is None else _expected(other, its, now))

    def _stay(self, request: Waiting, line: Line, ask: Ask, index: int) -> None:
        """Keep the first of a line, which was denied again."""
        self._denied(line, ask, index, _now())
        if request.late:
            self._time_out(request, line)

    def _denied(self, line: Line, ask: Ask, index: int, now: int) -> None:
        charge = ask.plan.charges[index]
        outcome, rate = ask.outcomes[index], charge.rule.rate
        by_holds = (
            charge.hold is not None
            and rate is not None
            and isinstance(outcome, Decision)
            and is_by_holds(rate, outcome, max(1, ask.costs[index]))
        )
        line.denied(now, _wait_of(ask, index), by_holds=by_holds, shared=self._shared, chance=random.random())  # noqa: S311 -- no secret

    def _expire(self, request: Waiting) -> None:
        """End the wait of a request whose time has passed; if it is asking, by the answer."""
        request.timer = None
        line = None if request.waiter is None else request.waiter.line
        if request.turn is not None:
            request.late = True
        elif line is not None:
            self._time_out(request, line)

    def _time_out(self, request: Waiting, line: Line) -> None:
        self._refuse(request, TIMED_OUT, _expected(request, line, _now()))

    def _refuse(self, request: Waiting, how: str, wait: int) -> None:
        """Deny a request: it may come again in ``wait`` µs. Other limits are looked at, as for any denial."""
        self._end(request, how)
        wanted = None if request.charge is None else request.charge.key
        try:
            ask = request.ask()
        except Exception as error:  # noqa: BLE001 -- the client must get a response to any error
            request.failed(None, error)
            return
        for index, charge in enumerate(ask.plan.charges):
            if charge.key == wanted and charge.rule.rate is not None:
                ask.outcomes[index] = _denial(wait, charge.rule.rate)
        ask.atomic = True
        self._engine.decide((ask,), _wall(), request.decided, request.failed)

    def _drop(self, request: Waiting) -> None:
        self._end(request, DRAINED)
        request.dropped()

    def _end(self, request: Waiting, how: str) -> None:
        """End the wait of a request, if it waits, and count how. One that never had to wait is not counted."""
        self._quit(request, turn=how == SERVED)
        request.over = True
        if request.since:
            request.waited = _now() - request.since
            self.metrics.waited.observe(request.waited / SECOND)
        if request.since or how in REFUSED:
            self.metrics.ended[request.name, how] += 1

    def _quit(self, request: Waiting, *, turn: bool = False) -> None:
        """Take a request out of its line."""
        waiter, request.waiter = request.waiter, None
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None
        if waiter is None or waiter.line is None:
            return
        line = waiter.line
        if turn:
            line.passed(_now())
        self.lines.leave(waiter, turn=turn)
        if not len(line) and line in self._timers:
            self._timers.pop(line).cancel()

    def _drop_some(self) -> None:
        left = AT_ONCE
        for line in self.lines:
            while len(line):
                if not left:
                    asyncio.get_running_loop().call_soon(self._drop_some)
                    return
                self._drop(line.first.tag)
                left -= 1

    # a line

    def _wake_some(self, lines: deque[Line]) -> None:
        for _ in range(min(len(lines), WOKEN_AT_ONCE)):
            line = lines.popleft()
            if len(line):
                self._wake(line)
        if lines:
            asyncio.get_running_loop().call_soon(self._wake_some, lines)

    def _wake(self, line: Line) -> None:
        line.wake(_now())
        self._go_on(line)

    def _go_on(self, line: Line) -> None:
        """Let the first of a line ask when that is due."""
        timer = self._timers.pop(line, None)
        if timer is not None:
            timer.cancel()
        if line.asking or not len(line):
            return
        loop, wait = asyncio.get_running_loop(), line.due - _now()
        if wait > 0:
            self._timers[line] = loop.call_later(wait / SECOND, self._due, line)
            return
        self._due(line)

    def _due(self, line: Line) -> None:
        self._timers.pop(line, None)
        self._ready[line] = None
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Let some of the lines ask that are due, and others in the next turn of the loop."""
        some = list(islice(self._ready, AT_ONCE))
        for line in some:
            del self._ready[line]
            if len(line) and not line.asking:
                self._turn(line)
        self._pumping = bool(self._ready)
        if self._pumping:
            asyncio.get_running_loop().call_soon(self._pump)

    def _turn(self, line: Line) -> None:
        request: Waiting = line.first.tag
        line.asking, request.turn = True, line
        try:
            ask = request.ask()
        except Exception as error:  # noqa: BLE001 -- the others of the line must go on
            self._failed(request, error)
        else:
            self._ask(request, ask)


def _denial(wait: int, rate: Rate) -> Remembered:
    wait = max(1, wait)
    return Remembered(allowed=False, remaining=0, reset_after=wait, retry_after=wait, before=rate.burst)


def _expected(request: Waiting, line: Line, now: int) -> int:
    """Return the µs in which a request would pass that joined the line now."""
    charge = request.charge
    rate = None if charge is None else charge.rule.rate
    queue = None if charge is None else charge.limit.queue
    return SECOND if rate is None or queue is None else line.expected(rate, request.cost, queue.timeout, now)


def _wait_of(ask: Ask, index: int) -> int:
    """Return the µs that a denial lasts."""
    outcome = ask.outcomes[index]
    return outcome.retry_after if isinstance(outcome, Decision) else 0


def _now() -> int:
    """Return the time in µs by which requests wait, which no step of the clock changes."""
    return time.monotonic_ns() // 1000


def _wall() -> int:
    return time.time_ns() // 1000
