"""Replies late, lost, cut or sliced: none reaches a caller that it is not for, and nothing is charged twice."""

import asyncio
import random
from functools import partial
from pathlib import Path

import pytest

from ratelimitd.limiter.seam import Failure, FailureKind
from testkit.fault_proxy import Way
from tests.faults.load import PATIENCE, TENDER, answered, decided, held, kinds, load, of_its_own, until, wanted

pytestmark = [pytest.mark.redis, pytest.mark.alone]

SHORT = 0.02
"""Seconds that a call whose answer does not come may wait."""


@pytest.mark.scenario("a reply is lost after the call was executed")
@pytest.mark.parametrize("lost", ["dropped", "cut"])
async def test_a_lost_reply_is_not_asked_for_again(make, server, proxy, lost):
    """Redis ran the call and the answer is lost, with or without the connection: it was charged once, and failed."""
    store = make(proxy.address)
    await store.connect()
    with proxy.fault(replies=Way(drop=True) if lost == "dropped" else Way(cut=0)):
        outcomes = await answered(store, *(wanted(number, budget=SHORT) for number in range(100)))
        await until(lambda: server.ask("DBSIZE") >= 100)
    assert kinds(outcomes) == {FailureKind.TIMEOUT if lost == "dropped" else FailureKind.DISCONNECTED}
    proxy.reset()
    await decided(store)
    assert [await held(store, number) for number in range(1, 100)] == [1] * 99


@pytest.mark.scenario("a reply is lost after the call was executed")
async def test_a_reply_cut_in_the_middle(make, server, proxy):
    """The connection ends within a reply, wherever: every charge of that call fails, once, and was charged once."""
    store = make(proxy.address)
    for size in (1, 20, 300, 301, 302, 303, 304, 305):
        await until(lambda: store.connected) if store.reconnects else await store.connect()
        with proxy.fault(replies=Way(cut=size)):
            outcomes = await answered(store, *(wanted(number, budget=PATIENCE) for number in range(100)))
        assert kinds(outcomes) == {FailureKind.DISCONNECTED}
        await until(lambda: store.connected)
    assert [await held(store, number) for number in range(100)] == [8] * 100


@pytest.mark.scenario("a reply is lost after the call was executed")
async def test_a_request_that_never_came(make, proxy):
    """A call that never reached Redis charged nothing, and is not sent again."""
    store = make(proxy.address)
    await store.connect()
    with proxy.fault(requests=Way(drop=True)):
        assert kinds(await answered(store, *(wanted(n, budget=SHORT) for n in range(100)))) == {FailureKind.TIMEOUT}
    proxy.reset()
    await until(lambda: store.reconnects)
    assert [await held(store, number) for number in range(100)] == [0] * 100


@pytest.mark.scenario("a caller cancels while its reply is in flight")
async def test_callers_that_go(make, proxy, breaker_after):
    """Most callers time out before their answer: every answer that is received belongs to its own call."""
    store = make(proxy.address, breaker_after=breaker_after, pool_size=3)
    await store.connect()
    draw = random.Random(11)
    kept, rounds = [], 0
    with proxy.fault(replies=Way(delay=0.003, jitter=0.006)):
        async with asyncio.timeout(PATIENCE):
            # On a busy machine replies are late enough to open the breaker, and then its rounds have few answers.
            while rounds < 40 or len(decisions(kept)) <= 100:
                rounds += 1
                callers = {number: wanted(number, budget=PATIENCE) for number in draw.sample(range(1_000), 25)}
                tasks = {number: asyncio.create_task(answered(store, asked)) for number, asked in callers.items()}
                await asyncio.sleep(draw.uniform(0, 0.004))
                for number in list(callers)[5:]:
                    tasks.pop(number).cancel()
                kept += [(number, (await task)[0]) for number, task in tasks.items()]
    assert all(of_its_own(number, outcome) for number, outcome in decisions(kept))
    assert {outcome.kind for _, outcome in kept if isinstance(outcome, Failure)} <= {FailureKind.OPEN, FailureKind.SLOW}
    await until(lambda: store.in_flight == 0)


def decisions(kept):
    return [(number, outcome) for number, outcome in kept if not isinstance(outcome, Failure)]


@pytest.mark.scenario("a caller cancels while its reply is in flight")
@pytest.mark.parametrize(
    "way",
    [Way(delay=0.01, jitter=0.01), Way(piece=50), Way(jitter=0.03)],
    ids=["around the budget", "sliced", "jitter"],
)
async def test_answers_around_the_budget(make, proxy, breaker_after, way):
    """When about half of the answers come too late, each one that counts is its own key's, and each call ends once."""
    store = make(proxy.address, breaker_after=breaker_after, pool_size=3, stale_after=PATIENCE)
    await store.connect()
    async with load(store, callers=30, keys=1_000) as made:
        with proxy.fault(replies=way):
            await made.further(2_000)
        await made.more(200)
    assert made.longest < TENDER
    assert set(made.failures) <= {FailureKind.TIMEOUT, FailureKind.OPEN, FailureKind.SLOW}
    await until(lambda: store.in_flight == 0)
    await made.counted()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reset", "CLIENT KILL", "cut"])
async def test_connections_that_die_under_load(make, server, proxy, how, watch):
    """Connections die again and again under load: what was under way fails once, the rest goes on, none is wrong."""
    store = make(proxy.address, budget=PATIENCE)
    await store.connect()
    async with load(store, keys=500) as made:
        for _ in range(15):
            if how == "reset":
                proxy.reset()
            elif how == "cut":
                proxy.set(replies=Way(cut=700))
                await made.failed(1)
                proxy.heal()
            else:
                await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await made.more(50)
    assert made.failures[FailureKind.DISCONNECTED] > 0
    assert set(made.failures) == {FailureKind.DISCONNECTED}
    assert made.longest < TENDER
    assert store.reconnects >= 15
    await made.counted()


def descriptors():
    """Open descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.scenario("connections are lost and re-established for a long time")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_reconnects_leave_no_descriptor(make, server, proxy):
    """A hundred connections lost and made again, and fifty refused: as many descriptors as before, here and there."""
    store = make(server.address, retry_first=0.001, retry_most=0.002)
    await store.connect()
    before, clients = descriptors(), len(server.ask("CLIENT", "LIST").splitlines())
    for turn in range(100):
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(partial(lambda turn: store.reconnects == turn + 1 and store.connected, turn))
    assert descriptors() == before
    assert len(server.ask("CLIENT", "LIST").splitlines()) == clients
    refused = make(proxy.address, retry_first=0.001, retry_most=0.002)
    with proxy.fault(connects="reset"):
        await refused.connect()
        await until(lambda: proxy.counts["reset"] >= 50)
    await refused.close()
    await until(lambda: descriptors() == before)
