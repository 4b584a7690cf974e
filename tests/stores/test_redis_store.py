"""The Redis store while Redis is unavailable, hung, full, killed or slow: each ask completes once, in time."""

import asyncio
import random
import socket
import time

import pytest
import redis
import uvloop

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter.seam import Ask, Failure, FailureKind
from testkit.redis_server import redis_server
from tests.algorithms.cases import NOW, SECOND, ask
from tests.contract.cases import allowed, charge
from tests.redis_options import store_of
from tests.stores.conftest import PATIENCE

pytestmark = pytest.mark.redis

HOUR = 3_600 * SECOND
TEN = make_rate("token_bucket", 10, HOUR)


@pytest.fixture
def server():
    """A redis-server of this test's own, to be killed and hung."""
    with redis_server() as running:
        yield running


def kinds(outcomes):
    """The kinds of failure among outcomes; None for a decision."""
    return {outcome.kind if isinstance(outcome, Failure) else None for outcome in outcomes}


def one(key=b"k_", budget=None):
    """A charge of one, with this budget (seconds) from now."""
    asked = ask((TEN, key, 1))
    if budget is not None:
        asked.deadline = int((asyncio.get_running_loop().time() + budget) * 1e6)
    return asked


async def test_refused_fails_at_once(make, edges, server):
    """While nothing listens, charges fail before ``charge`` returns, and the edge is reported once, with the reason."""
    server.kill()
    store = make(server.address)
    assert not await store.connect()
    asked = [one(), one()]
    groups: list[list[Ask]] = []
    store.charge(asked, NOW, lambda group: groups.append(list(group)))
    assert groups == [asked]
    assert kinds([a.outcomes[0] for a in asked]) == {FailureKind.DISCONNECTED}
    assert store.failures[FailureKind.DISCONNECTED] == 2
    assert not store.connected
    assert edges.ups == [False]
    assert server.address in edges.seen[0][1]


async def test_connects_when_redis_comes(make, edges, server):
    """A store that started before its Redis finds it."""
    server.kill()
    store = make(server.address)
    await store.connect()
    server.start()
    await edges.until(False, True)
    assert store.connected
    assert allowed(await charge(store, [one()])) == [True]


async def test_over_tcp(make):
    """A host and a port work like a socket's path."""
    with redis_server(tcp=True) as server:
        store = make(server.address)
        assert await store.connect()
        assert allowed(await charge(store, [one()])) == [True]


@pytest.mark.scenario("logs that fill up or contain secrets")
async def test_kill_and_restart(make, edges, server):
    """kill -9 fails each charge in flight once; a restarted Redis is found again; each edge is reported once."""
    store = make(server.address)
    await store.connect()
    server.hang()
    under_way = asyncio.ensure_future(charge(store, [one(b"%d_" % i) for i in range(300)]))
    await asyncio.sleep(0)
    assert store.in_flight == 300
    server.kill()
    outcomes = await under_way
    assert kinds(outcomes) == {FailureKind.DISCONNECTED}
    assert store.failures[FailureKind.DISCONNECTED] == len(outcomes) == 300
    assert store.in_flight == 0
    server.start()
    await edges.until(True, False, True)
    assert allowed(await charge(store, [one()])) == [True]
    assert store.reconnects == 1


async def test_connections_are_counted(make, server):
    """Those that were made and those that closed; what is between them is open."""
    store = make(server.address)
    await store.connect()
    (pool,), (node,) = store.topology.pools, store.nodes
    assert pool.made - pool.closed == len(node.connections) >= 1
    await store.close()
    assert pool.made == pool.closed


async def test_hung_redis_costs_the_budget(make, server):
    """A Redis that hangs costs each ask its own budget, not another's; who can wait gets the answer."""
    store = make(server.address)
    await store.connect()
    server.hang()
    short, long = one(b"short_", budget=0.02), one(b"long_", budget=PATIENCE)
    pending = asyncio.ensure_future(charge(store, [long]))
    started = asyncio.get_running_loop().time()
    assert kinds(await charge(store, [short])) == {FailureKind.TIMEOUT}
    assert 0.02 <= asyncio.get_running_loop().time() - started < 1.0
    assert not pending.done()
    server.resume()
    assert allowed(await pending) == [True]
    assert isinstance(short.outcomes[0], Failure)
    assert store.failures[FailureKind.TIMEOUT] == 1


async def test_a_connection_that_never_answers_is_replaced(make, edges, server):
    """A link whose oldest reply is long due is closed, so charges fail at once; a resumed Redis is found again."""
    store = make(server.address, stale_after=0.05)
    await store.connect()
    server.hang()
    while store.connected:
        assert kinds(await charge(store, [one(budget=0.01)])) <= {FailureKind.TIMEOUT, FailureKind.DISCONNECTED}
    assert kinds(await charge(store, [one()])) == {FailureKind.DISCONNECTED}
    assert store.in_flight == 0
    server.resume()
    await edges.until(True, False, True)
    assert allowed(await charge(store, [one(b"new_")])) == [True]


async def test_no_answer_reaches_another_caller(make, server):
    """With timeouts of all lengths, each answer belongs to its own key: every key has a different limit."""
    store = make(server.address, pool_size=3)
    await store.connect()
    draw = random.Random(3)
    decided = late = 0
    end = time.monotonic() + PATIENCE
    while decided <= 100 or late <= 100:
        assert time.monotonic() < end
        asked = []
        for number in draw.sample(range(1_000), 50):
            wanted = ask((make_rate("token_bucket", 1_000 + number, 1_000 * HOUR), b"%d_" % number, 1))
            wanted.deadline = int((asyncio.get_running_loop().time() + draw.uniform(0, 0.02)) * 1e6)
            asked.append((number, wanted))
        server.hang()
        answers = asyncio.gather(*(charge(store, [wanted]) for _, wanted in asked))
        await asyncio.sleep(0.005)
        server.resume()
        await answers
        for number, wanted in asked:
            (outcome,) = wanted.outcomes
            if isinstance(outcome, Decision):
                assert outcome.before + 1 + outcome.remaining == 1_000 + number
                decided += 1
            else:
                late += 1
    assert decided > 100
    assert late > 100


async def test_too_many_in_flight(make, server):
    """Beyond the bound charges fail at once as OVERLOADED, and pass again when there is room."""
    store = make(server.address, max_in_flight=20)
    await store.connect()
    server.hang()
    held = asyncio.ensure_future(charge(store, [one(b"%d_" % i) for i in range(10)]))
    await asyncio.sleep(0)
    assert kinds(await charge(store, [one()])) == {FailureKind.OVERLOADED}
    server.resume()
    assert all(allowed(await held))
    assert allowed(await charge(store, [one()])) == [True]


async def test_too_much_unsent(make, server):
    """When a hung Redis takes no more bytes, charges fail at once as OVERLOADED instead of piling up."""
    store = make(server.address, pool_size=1)
    await store.connect()
    server.hang()
    held = asyncio.ensure_future(charge(store, [one(b"%d" % i + b"x" * 50_000) for i in range(100)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert kinds(await charge(store, [one()])) == {FailureKind.OVERLOADED}
    server.resume()
    assert all(allowed(await held))
    assert allowed(await charge(store, [one()])) == [True]


async def test_timed_out_charges_still_count_as_in_flight(make, server):
    """Charges whose budget has ended still count as in flight, so a hung Redis cannot exhaust memory."""
    store = make(server.address, max_in_flight=20)
    await store.connect()
    server.hang()
    assert kinds(await charge(store, [one(b"%d_" % i, budget=0.005) for i in range(10)])) == {FailureKind.TIMEOUT}
    assert kinds(await charge(store, [one()])) == {FailureKind.OVERLOADED}


@pytest.mark.scenario("the event loop is blocked")
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_stall_of_our_own_is_not_a_timeout(server, loop):
    """When the process was held past the budget and the answer is there, the answer counts; on either loop."""

    async def stalled():
        store = store_of(server.address)
        await store.connect()
        here, there = socket.socketpair()

        def stall():
            server.resume()
            time.sleep(0.1)
            asyncio.get_running_loop().remove_reader(here)

        with here, there:
            asyncio.get_running_loop().add_reader(here, stall)
            server.hang()
            answer = asyncio.ensure_future(charge(store, [one(budget=0.03)]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert sum(map(len, store.nodes[0].connections)) == 1
            there.send(b"!")
            outcomes = await answer
        await store.close()
        return outcomes

    with asyncio.Runner(loop_factory=loop) as runner:
        assert allowed(runner.run(stalled())) == [True]


@pytest.mark.scenario("one hot key")
async def test_a_tick_is_one_call(make, server):
    """The asks of an event-loop iteration share script calls of at most 128 charges; each has its own ``done``."""
    store = make(server.address)
    await store.connect()
    await asyncio.gather(*(charge(store, [one(b"%d_" % i)]) for i in range(128)))
    assert store.round_trips == 1
    await asyncio.gather(*(charge(store, [one(b"%d_" % i)]) for i in range(300)))
    assert store.round_trips == 1 + 3
    await charge(store, [ask(*((TEN, b"%d_" % i, 1) for i in range(300)))])
    assert store.round_trips == 4 + 3


async def test_the_pool_grows_when_busy(make, server):
    """One connection until it is busy, then more, up to the pool's size."""
    store = make(server.address, pool_size=3)
    await store.connect()
    await charge(store, [one()])
    assert len(store.nodes[0].connections) == 1
    async with asyncio.timeout(PATIENCE):
        while len(store.nodes[0].connections) < 3:
            server.hang()
            held = []
            for _ in range(4):
                held.append(asyncio.ensure_future(charge(store, [one()])))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            server.resume()
            await asyncio.gather(*held)
            if store.nodes[0]._opening is not None:
                await store.nodes[0]._opening
    await asyncio.gather(*(charge(store, [one()]) for _ in range(9)))
    assert len(store.nodes[0].connections) == 3
    with server.client() as client:
        assert client.info("clients")["connected_clients"] == 3 + 1


async def test_full_and_read_only_redis(make, edges, server):
    """Errors of Redis have their kind: no memory, or a replica that only reads, which is then left for the master."""
    store = make(server.address)
    await store.connect()
    with server.client() as client:
        client.config_set("maxmemory", "1")
        assert kinds(await charge(store, [one()])) == {FailureKind.OUT_OF_MEMORY}
        client.config_set("maxmemory", "0")
        client.replicaof("127.0.0.1", "1")
        assert kinds(await charge(store, [one()])) == {FailureKind.TRANSIENT}
        client.replicaof("NO", "ONE")
    await edges.until(True, False, True)
    assert allowed(await charge(store, [one()])) == [True]
    assert (store.failures[FailureKind.OUT_OF_MEMORY], store.failures[FailureKind.TRANSIENT]) == (1, 1)


async def test_password_and_database(make, edges):
    """A password and a database number are used; a wrong password is said to be one, and not shown."""
    with redis_server("--requirepass", "canary") as server:
        assert not await make(server.address, "wrong-canary").connect()
        assert not await make(server.address).connect()
        assert "AUTH failed" in edges.seen[0][1]
        assert not any("canary" in reason for _, reason in edges.seen)
        assert await make(server.address, "canary").connect()
        assert await make(server.address, "default:canary").connect()
    with redis_server(tcp=True) as server:
        store = make(f"redis://{server.address}/3")
        assert await store.connect()
        await charge(store, [one(b"here_")])
        with server.client(db=3) as client:
            assert client.exists("here_")


async def test_close_ends_everything(make, edges, server):
    """Closing fails charges in flight, reports no edge, and stops all attempts to connect."""
    store = make(server.address)
    await store.connect()
    server.hang()
    under_way = asyncio.ensure_future(charge(store, [one()]))
    await asyncio.sleep(0)
    await store.close()
    assert kinds(await under_way) == {FailureKind.DISCONNECTED}
    assert edges.ups == [True]
    assert len(asyncio.all_tasks()) == 1
    assert kinds(await charge(store, [one()])) == {FailureKind.DISCONNECTED}


async def test_a_caller_that_raises_harms_nobody_else(make, server, caplog):
    """A ``done`` that raises is logged; the other asks of the batch are completed."""
    store = make(server.address)
    await store.connect()

    def broken(_):
        raise ZeroDivisionError

    store.charge([one()], NOW, broken)
    assert allowed(await charge(store, [one()])) == [True]
    assert "ZeroDivisionError" in caplog.text
    assert store.in_flight == 0


async def test_a_name_is_looked_up_for_each_connection(make, edges, monkeypatch):
    """When a name leads elsewhere, the next connection goes there: a server may move without a restart of ours."""
    loop = asyncio.get_running_loop()
    hosts = ["127.0.0.1"]
    found = loop.getaddrinfo

    async def lookup(host, port, **options):
        return await found(hosts[-1] if host == "redis.test" else host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", lookup)
    with redis_server("--bind", "127.0.0.1", tcp=True) as old:
        store = make(f"redis.test:{old.port}")
        assert await store.connect()
        with redis_server("--bind", "127.0.0.2", "--port", str(old.port)) as new:
            hosts.append("127.0.0.2")
            old.kill()
            await edges.until(True, False, True)
            assert allowed(await charge(store, [one(b"moved_")])) == [True]
            with redis.Redis("127.0.0.2", old.port) as client:
                assert client.exists("moved_")
        assert new is not old


async def test_who_is_too_late_is_not_charged(make, server):
    """An ask whose budget has ended before it is sent fails at once, and nothing is counted for it."""
    store = make(server.address)
    await store.connect()
    assert kinds(await charge(store, [one(b"late_", budget=-0.001)])) == {FailureKind.TIMEOUT}
    with server.client() as client:
        assert not client.exists("late_")


async def test_an_ask_that_cannot_be_packed_is_answered(make, server, caplog):
    """An internal error while a call is packed fails its asks as PERMANENT: no caller waits, no capacity leaks."""
    store = make(server.address)
    await store.connect()
    odd = ask((None, b"k_", 1))  # type: ignore[arg-type]
    assert kinds(await charge(store, [odd])) == {FailureKind.PERMANENT}
    assert store.in_flight == 0
    assert "failed to send a batch" in caplog.text
    assert allowed(await charge(store, [one()])) == [True]
