"""The timer of all deadlines, and what it does when many pass at once."""

import asyncio

from ratelimitd.http1.deadlines import AT_ONCE, Sweeper
from ratelimitd.http1.model import Endpoint
from ratelimitd.http1.options import UpstreamOptions
from ratelimitd.http1.pool import Pool
from tests.http1.rig import until

MANY = 3 * AT_ONCE


class Late:
    """Something whose deadline has passed."""

    def __init__(self, sweeper, turn, fails=False):
        self.deadline = 0.0
        self.turn = None
        self._sweeper, self._turn, self._fails = sweeper, turn, fails

    def expire(self, now):
        self.turn = self._turn()
        self._sweeper.discard(self)
        if self._fails:
            raise RuntimeError("of a test")


class Turns:
    """Counts the turns of the loop."""

    def __init__(self):
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._next()

    def _next(self):
        self.count += 1
        self._handle = self._loop.call_soon(self._next)

    def stop(self):
        self._handle.cancel()


async def test_deadlines_that_pass_at_once_are_acted_on_in_turns():
    """Clients that connect together and send nothing are rejected together; others are served meanwhile."""
    sweeper, turns = Sweeper(0.01), Turns()
    late = [Late(sweeper, lambda: turns.count) for _ in range(MANY)]
    for each in late:
        sweeper.add(each)
    await until(lambda: all(each.turn for each in late))
    turns.stop()
    found = [each.turn for each in late]
    assert max(found.count(turn) for turn in found) == AT_ONCE


async def test_an_error_in_one_deadline_leaves_the_others():
    """Deadlines are acted on after one raised an exception, also those that are set later."""
    loop, sweeper = asyncio.get_running_loop(), Sweeper(0.01)
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    errors = []
    bad, later = Late(sweeper, lambda: 1, fails=True), Late(sweeper, lambda: 1)
    sweeper.add(bad)
    await until(lambda: errors)
    sweeper.add(later)
    await until(lambda: later.turn)
    assert len(errors) == 1


class Taker:
    """A request that waits for a connection."""

    def __init__(self):
        self.error = None

    def queued(self):
        """What is asked of the pool alone has no circuit breaker."""

    def unconnected(self, error, outcome):
        self.error = error


async def test_many_that_wait_in_vain_are_told_in_turns():
    """A pool whose queue is full of requests that came at once gives up on some in each turn of the loop."""
    sweeper = Sweeper(1000.0)
    options = UpstreamOptions(max_connections=0, max_waiting=8 * MANY, wait_timeout=0.0)
    pool, takers = Pool(Endpoint("127.0.0.1", 1), options, sweeper), [Taker() for _ in range(MANY)]
    for taker in takers:
        pool.take(taker, "192.0.2.1")
    pool.expire(asyncio.get_running_loop().time())
    assert sum(taker.error is not None for taker in takers) == AT_ONCE
    await until(lambda: all(taker.error for taker in takers))
    await pool.close()
    sweeper.close()
