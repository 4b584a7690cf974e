"""One node: its circuit breaker, its probes and its connections, with a scripted Redis."""

import asyncio

import pytest

from ratelimitd.algorithms import Decision
from ratelimitd.limiter.seam import FailureKind
from tests.contract.cases import charge
from tests.stores.conftest import PATIENCE
from tests.stores.test_redis_connection import REPLY
from tests.stores.test_redis_store import kinds, one

AFTER = 5
PROBED = 0.02
"""Seconds between probes, at most."""


class Says:
    """A behaviour: PING is well whatever else is; a script call hears what the test says at the time.

    Attributes:
        reply: to script calls; None: nothing, and the connection ends.
        heard: script calls, by their key.
    """

    def __init__(self, reply):
        self.reply = reply
        self.on_read: list[bytes] = []

    def __call__(self, words, writer):
        if words[0] != b"EVALSHA":
            writer.write(b"+PONG\r\n")
            return
        self.on_read.append(words[3])
        if self.reply is None:
            writer.close()
        else:
            writer.write(self.reply)

    async def until(self, calls):
        """Wait until this number of script calls was received."""
        async with asyncio.timeout(PATIENCE):
            while len(self.on_read) < calls:
                await asyncio.sleep(0.001)


async def outcome_of(store):
    """The kind of failure of one charge; None: it was decided."""
    (kind,) = kinds(await charge(store, [one()]))
    return kind


async def outcomes_of(store, calls):
    """The same of so many, one after the other."""
    return [await outcome_of(store) for _ in range(calls)]


@pytest.mark.parametrize("said", [b"LOADING x", b"BUSY x", b"MISCONF x", b"NOREPLICAS x"])
async def test_a_server_that_fails_is_left_alone(make, edges, fake, said):
    """After five consecutive failures nothing more is sent, charges fail at once as OPEN, and the edge is reported."""
    redis = Says(b"-%b\r\n" % said)
    store = make(await fake.start(redis), breaker_after=AFTER, probe_most=PATIENCE)
    await store.connect()
    assert await outcomes_of(store, AFTER + 3) == [FailureKind.TRANSIENT] * AFTER + [FailureKind.OPEN] * 3
    assert len(redis.on_read) == AFTER
    assert store.breaker_opens == 1
    assert not store.connected
    assert edges.ups == [True, False]


@pytest.mark.scenario("probes that report a wrong state")
async def test_probes_are_the_script(make, edges, fake):
    """A server that answers PING and cannot run the script stays alone; probes go on, and one that passes ends it."""
    redis = Says(b"-MISCONF no disk\r\n")
    store = make(await fake.start(redis), breaker_after=AFTER, probe_most=PROBED)
    await store.connect()
    await outcomes_of(store, AFTER)
    await redis.until(AFTER + 5)
    assert await outcome_of(store) is FailureKind.OPEN
    assert {*redis.on_read[AFTER:]} == {store.nodes[0].probe_key}
    redis.reply = REPLY
    await edges.until(True, False, True)
    assert await outcome_of(store) is None
    assert store.in_flight == 0


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"WRONGTYPE x", FailureKind.KEY),
        (b"OOM x", FailureKind.OUT_OF_MEMORY),
        (b"TRYAGAIN x", FailureKind.TRANSIENT),
        (b"NOPERM x", FailureKind.PERMANENT),
    ],
)
async def test_what_is_no_servers_fault_opens_nothing(make, fake, said, kind):
    """An error about one key, about memory or about our rights is each caller's own, however often it comes."""
    redis = Says(b"-%b\r\n" % said)
    store = make(await fake.start(redis), breaker_after=AFTER)
    await store.connect()
    assert await outcomes_of(store, 2 * AFTER) == [kind] * 2 * AFTER
    assert store.connected


async def test_an_answer_that_came_too_late_closes_nothing(make, fake):
    """A server that takes longer than a budget stays alone, whatever it then says; the failures name STORE_BUDGET."""
    writers: list[asyncio.StreamWriter] = []
    path = await fake.start(lambda _words, writer: writers.append(writer))
    store = make(path, pool_size=1, breaker_after=2, budget=0.01, probe_most=PATIENCE, stale_after=PATIENCE)
    await store.connect()
    assert await outcomes_of(store, 2) == [FailureKind.TIMEOUT] * 2
    async with asyncio.timeout(PATIENCE):
        while not store.breaker_opens:
            await asyncio.sleep(0.001)
    for writer in writers:
        writer.write(REPLY)
    async with asyncio.timeout(PATIENCE):
        while store.in_flight:
            await asyncio.sleep(0.001)
    (outcome,) = await charge(store, [one()])
    assert outcome.kind is FailureKind.SLOW
    assert "STORE_BUDGET (10 ms)" in outcome.message


@pytest.mark.scenario("a reply is lost after the call was executed")
async def test_a_lost_connections_calls_are_not_sent_again(make, edges, fake):
    """A call may have been executed before its connection was lost, so another connection that is there is no help."""
    redis = Says(REPLY)
    store = make(await fake.start(redis), pool_size=2)
    await store.connect()
    assert await store.nodes[0].open()
    redis.reply = None
    assert kinds(await charge(store, [one()])) == {FailureKind.DISCONNECTED}
    redis.reply = REPLY
    (outcome,) = await charge(store, [one(b"next_")])
    assert isinstance(outcome, Decision)
    assert redis.on_read == [b"k_", b"next_"]
    assert edges.ups == [True]


async def test_a_pool_has_its_size(make, fake):
    """However many calls wait, and turn after turn more come, there are as many connections as the pool has."""
    store = make(await fake.start(lambda _words, _writer: None), pool_size=3)
    await store.connect()
    pending = []
    for _ in range(10):
        pending.append(asyncio.ensure_future(charge(store, [one()])))
        while store.in_flight < len(pending) or store.nodes[0]._opening is not None:
            await asyncio.sleep(0.001)
    assert len(store.nodes[0].connections) == 3
    assert sorted(map(len, store.nodes[0].connections)) == [3, 3, 4]
    await store.close()
    await asyncio.gather(*pending)


async def test_a_connection_that_came_to_nothing_delays_the_next(make, fake):
    """A server that greets well and fails at the script is not dialled over and over, breaker open or not."""
    says = Says(None)
    store = make(await fake.start(says), retry_most=PATIENCE)
    await store.connect()
    assert await outcome_of(store) is FailureKind.DISCONNECTED
    for _ in range(100):
        assert await outcome_of(store) is FailureKind.DISCONNECTED
        await asyncio.sleep(0.001)
    assert (len(says.on_read), store.reconnects) == (1, 0)


async def test_one_chain_of_probes(make, fake):
    """However often a breaker opens and closes, one probe at a time is due."""
    says = Says(b"-BUSY x\r\n")
    store = make(await fake.start(says), breaker_after=1, probe_most=PATIENCE)
    await store.connect()
    (node,) = store.nodes
    for _ in range(20):
        node.failed("for the test")
        assert node.breaker.open
        node.answered("", 0.0)
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert sum(handle._callback == node._probe and not handle.cancelled() for handle in scheduled) == 1


async def test_probes_are_nobodys_failures(make, fake):
    """What becomes of a probe is not counted as a charge that failed."""
    says = Says(b"-BUSY x\r\n")
    store = make(await fake.start(says), breaker_after=1, probe_most=PROBED)
    await store.connect()
    assert await outcome_of(store) is FailureKind.TRANSIENT
    await says.until(10)
    assert sum(store.failures.values()) == 1


LASTING = [(b"OOM x", FailureKind.OUT_OF_MEMORY), (b"NOPERM x", FailureKind.PERMANENT)]


async def refused(store, edges):
    """Call until the store reports that every call is refused."""
    async with asyncio.timeout(PATIENCE):
        while not edges.refusals:
            await outcome_of(store)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("said", "kind"), LASTING)
async def test_a_server_that_refuses_every_call_is_in_trouble(make, edges, fake, said, kind):
    """After a second of such errors alone it is reported, with its text; calls go on; a probe that passes ends it."""
    redis = Says(b"-%b\r\n" % said)
    store = make(await fake.start(redis), breaker_after=AFTER, probe_most=PROBED)
    await store.connect()
    assert await outcomes_of(store, 2 * AFTER) == [kind] * 2 * AFTER
    assert not edges.refusals
    await refused(store, edges)
    assert (edges.refusals, store.topology.trouble) == ([said.decode()], said.decode())
    assert store.connected
    heard = len(redis.on_read)
    await redis.until(heard + 3)
    assert {*redis.on_read[heard:]} == {store.nodes[0].probe_key}
    redis.reply = REPLY
    async with asyncio.timeout(PATIENCE):
        while len(edges.refusals) < 2:
            await asyncio.sleep(0.001)
    assert (edges.refusals[1:], store.topology.trouble) == ([""], "")
    assert edges.ups == [True]


async def test_a_server_that_is_lost_refuses_nothing(make, edges, fake):
    """Whatever a server refused, a new connection begins anew; it is not reported twice that it is back."""
    redis = Says(b"-OOM x\r\n")
    store = make(await fake.start(redis), breaker_after=AFTER, probe_most=PATIENCE)
    await store.connect()
    await refused(store, edges)
    redis.reply = None
    await outcome_of(store)
    redis.reply = REPLY
    await edges.until(True, False, True)
    assert store.topology.trouble == ""
    assert await outcome_of(store) is None
    assert edges.refusals == ["OOM x"]


async def test_the_reason_is_the_current_one(make, edges, fake):
    """A server that is unavailable for another reason than at first is told by that; the edge is reported once."""
    says = Says(b"-BUSY x\r\n")
    store = make(await fake.start(says), breaker_after=1, probe_most=PROBED)
    await store.connect()
    await outcome_of(store)
    assert "BUSY" in store.topology.trouble
    says.reply = b"-MISCONF no disk\r\n"
    async with asyncio.timeout(PATIENCE):
        while "MISCONF" not in store.topology.trouble:
            await asyncio.sleep(0.001)
    says.reply = None
    await fake.close()
    async with asyncio.timeout(PATIENCE):
        while "No such file" not in store.topology.trouble and "refused" not in store.topology.trouble:
            await asyncio.sleep(0.001)
    assert edges.ups == [True, False]
