"""Failures say whether their charges were sent: what was may have been applied, what was not was not."""

import asyncio

from ratelimitd.limiter.seam import Failure
from tests.contract.cases import charge
from tests.stores.test_redis_store import one, pytestmark, server  # noqa: F401 -- as that file has them


def sent(outcomes):
    """Whether the failures among outcomes say that they were sent."""
    return {outcome.sent for outcome in outcomes if isinstance(outcome, Failure)}


async def test_what_a_lost_or_silent_server_had_been_sent(make, edges, server):  # noqa: F811 -- the fixture
    """A charge whose reply did not come in time, or whose connection was lost; but not one that found no server."""
    store = make(server.address)
    await store.connect()
    server.hang()
    assert sent(await charge(store, [one(budget=0.02)])) == {True}
    under_way = asyncio.ensure_future(charge(store, [one(b"%d_" % i) for i in range(3)]))
    await asyncio.sleep(0)
    server.kill()
    assert sent(await under_way) == {True}
    await edges.until(True, False)
    assert sent(await charge(store, [one()])) == {False}


async def test_what_the_store_refused_or_redis_did_not_run_was_not_applied(make, server):  # noqa: F811 -- as above
    """Too many in flight, a budget that is over before anything is sent, and an error of the whole call."""
    store = make(server.address, max_in_flight=1)
    await store.connect()
    assert sent(await charge(store, [one(b"%d_" % i) for i in range(3)])) == {False}
    late = one()
    late.deadline = 1
    assert sent(await charge(store, [late])) == {False}
    server.ask("CONFIG", "SET", "maxmemory", "1")
    assert sent(await charge(store, [one(b"full_")])) == {False}
