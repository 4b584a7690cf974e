"""Redis replies with an error: its kind decides which charges fail, and whether the breaker opens. All are real."""

import asyncio
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import redis

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter.seam import Failure, FailureKind
from testkit.redis_server import redis_server
from testkit.redis_server import until as until_asked
from tests.algorithms.cases import YEAR, ask
from tests.faults.load import PATIENCE, answered, decided, held, kinds, load, wanted

pytestmark = [pytest.mark.redis, pytest.mark.alone]

CALLS = 20
"""Script calls in a row, four times as many as open the breaker."""


async def in_a_row(store, calls=CALLS):
    """Outcomes of so many script calls, one after the other."""
    return [(await answered(store, wanted(number, budget=PATIENCE)))[0] for number in range(calls)]


def said(outcomes):
    """The first word of each error."""
    return {outcome.message.split()[0] for outcome in outcomes if isinstance(outcome, Failure)}


@contextmanager
def no_replicas(server):
    """It wants a replica, and has none."""
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    yield "NOREPLICAS"
    server.ask("CONFIG", "SET", "min-replicas-to-write", 0)


@contextmanager
def cannot_save(server):
    """It could not write its snapshot, since the folder is gone, and so refuses writes."""
    folder = Path(server.ask("CONFIG", "GET", "dir")[1])
    taken = folder / "dump.rdb"
    taken.mkdir()  # a folder where the file would be: also root cannot replace it
    server.ask("CONFIG", "SET", "save", "3600 1")
    server.ask("SET", "changed", 1)
    server.ask("BGSAVE")
    until_asked(lambda: server.ask("INFO", "persistence")["rdb_last_bgsave_status"] == "err", "a snapshot that failed")
    yield "MISCONF"
    taken.rmdir()
    server.ask("CONFIG", "SET", "save", "")


@contextmanager
def loading(server):
    """It reads its snapshot back, slowly, and answers meanwhile."""
    server.ask("DEBUG", "POPULATE", 20_000)
    server.ask("CONFIG", "SET", "key-load-delay", 300, "loading-process-events-interval-bytes", 1_024)
    with server.client() as other:
        connection = other.connection_pool.get_connection()
        connection.send_command("DEBUG", "RELOAD")
        until_asked(lambda: is_loading(server), "loading")
        yield "LOADING"
        server.ask("CONFIG", "SET", "key-load-delay", 0)
        connection.read_response()
        other.connection_pool.release(connection)


def is_loading(server):
    """Whether it says so."""
    return bool(server.ask("INFO", "persistence")["loading"])


@contextmanager
def busy(server):
    """Another client's script does not end; then it is killed."""
    server.ask("CONFIG", "SET", "busy-reply-threshold", 1)
    with server.client() as other:
        connection = other.connection_pool.get_connection()
        connection.send_command("EVAL", "while true do end", 0)
        until_asked(lambda: is_busy(server), "a busy server")
        yield "BUSY"
        server.ask("SCRIPT", "KILL")
        with pytest.raises(redis.ResponseError):
            connection.read_response()
        other.connection_pool.release(connection)


def is_busy(server):
    """Whether it says so."""
    try:
        server.ask("PING")
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


@contextmanager
def masterless(server):
    """The server became a replica whose master is unavailable, and serves no stale data."""
    server.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    server.ask("REPLICAOF", "127.0.0.1", 1)
    yield "MASTERDOWN"
    server.ask("REPLICAOF", "NO", "ONE")


@contextmanager
def replica(server):
    """It became a replica, which takes no writes."""
    server.ask("REPLICAOF", "127.0.0.1", 1)
    yield "READONLY"
    server.ask("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("fault", [no_replicas, cannot_save, loading, busy], ids=lambda fault: fault.__name__)
async def test_a_server_that_fails_everybody(make, fault, watch):
    """NOREPLICAS, MISCONF, LOADING and BUSY fail each call; five open the breaker; when it is over calls pass."""
    with redis_server("--enable-debug-command", "local", tcp=True) as server:
        store = make(server.address, budget=PATIENCE)
        await store.connect()
        await decided(store)
        with fault(server) as word:  # type: ignore[operator]
            outcomes = await in_a_row(store)
            assert kinds(outcomes[:5]) == {FailureKind.TRANSIENT}
            assert said(outcomes[:5]) == {word}
            assert kinds(outcomes[5:]) == {FailureKind.OPEN}
            assert store.failures[FailureKind.TRANSIENT] == 5
        assert await decided(store) < 1.0
        assert watch.ups == [True, False, True]


@pytest.mark.scenario("another server becomes the master")
@pytest.mark.parametrize("fault", [masterless, replica], ids=lambda fault: fault.__name__)
async def test_no_master_any_more(make, server, fault, watch):
    """READONLY and MASTERDOWN end the connections at once, so that the master is looked for."""
    store = make(server.address, budget=PATIENCE)
    await store.connect()
    with fault(server) as word:  # type: ignore[operator]
        first, *others = await in_a_row(store)
        assert (kinds([first]), said([first])) == ({FailureKind.TRANSIENT}, {word})
        assert kinds(others) == {FailureKind.DISCONNECTED}
        assert watch.ups == [True, False]
    assert await decided(store) < 1.0
    assert watch.ups == [True, False, True]


async def test_loading_at_the_start(make, watch):
    """A Redis that still reads its snapshot when we come is waited for, and the log says why."""
    with redis_server("--enable-debug-command", "local", tcp=True) as server:
        store = make(server.address)
        with loading(server):
            assert not await store.connect()
        assert await decided(store) < 2.0
    assert "LOADING" in watch.seen[0][2]


@asynccontextmanager
async def full(server):
    """No memory is left, and nothing may be evicted."""
    server.ask("CONFIG", "SET", "maxmemory", 1)
    yield
    server.ask("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.scenario("Redis is out of memory")
async def test_full_memory(make, server, watch):
    """Without memory a denial stands, every other charge fails as OUT_OF_MEMORY, and the breaker stays closed."""
    store = make(server.address, budget=PATIENCE)
    await store.connect()
    spent = make_rate("token_bucket", 1, YEAR)
    await answered(store, ask((spent, b"spent_", 1)))
    async with full(server):
        for number in range(CALLS):
            denied, other = await answered(store, ask((spent, b"spent_", 1)), wanted(number))
            assert isinstance(denied, Decision)
            assert not denied.allowed
            assert kinds([other]) == {FailureKind.OUT_OF_MEMORY}
        server.ask("SCRIPT", "FLUSH")
        assert kinds(await answered(store, ask((spent, b"spent_", 1)))) == {None}
    assert store.failures[FailureKind.OUT_OF_MEMORY] == CALLS
    assert watch.ups == [True]
    assert [await held(store, number) for number in range(CALLS)] == [0] * CALLS


@pytest.mark.scenario("Redis is out of memory")
async def test_memory_that_comes_and_goes(make, server):
    """Under load, with memory now full and now not: what fails is OUT_OF_MEMORY alone, and was not charged."""
    store = make(server.address, budget=PATIENCE)
    await store.connect()
    async with load(store) as made:
        for _ in range(10):
            await made.more(50)
            async with full(server):
                await made.failed(50)
    assert set(made.failures) == {FailureKind.OUT_OF_MEMORY}
    assert sum([await held(store, number) for number in range(50)]) == made.decisions


@pytest.mark.scenario("a key contains foreign data, or the state of another algorithm")
async def test_wrong_types_harm_their_own_charges(make, server, watch):
    """Foreign values under some keys, in batches with others: those charges fail, and the breaker stays closed."""
    store = make(server.address, budget=PATIENCE)
    await store.connect()
    await answered(store, *(wanted(number) for number in range(50)))
    for name in sorted(server.ask("KEYS", "*k*_*"))[::5]:
        server.ask("DEL", name)
        server.ask("RPUSH", name, "theirs")
    async with load(store) as made:
        await made.failed(100)
        await made.more(100)
    assert set(made.failures) == {FailureKind.KEY}
    assert len({number for number, asked in made.asks if isinstance(asked.outcomes[0], Failure)}) == 10
    assert watch.ups == [True]


async def test_a_right_that_is_taken_away(make, server, watch):
    """NOPERM comes at once, so it opens no breaker; the limits fail as PERMANENT until the right is back."""
    store = make(server.address, budget=PATIENCE)
    await store.connect()
    server.ask("ACL", "SETUSER", "default", "-evalsha")
    assert kinds(await in_a_row(store)) == {FailureKind.PERMANENT}
    server.ask("ACL", "SETUSER", "default", "+evalsha")
    assert kinds(await in_a_row(store)) == {None}
    assert watch.ups == [True]


@pytest.mark.scenario("Redis loses the script")
async def test_script_flush_under_load(make, server, breaker_after):
    """SCRIPT FLUSH every few milliseconds under load fails no call, and each is charged once."""
    store = make(server.address, budget=PATIENCE, breaker_after=breaker_after)
    await store.connect()
    with server.client() as client:
        async with load(store, callers=50) as made:
            flushes = 0
            while made.decisions < 3_000 or flushes < 100:
                client.script_flush()
                flushes += 1
                await asyncio.sleep(0.003)
                assert not made.failures
    assert store.script_reloads > 50
    await made.counted()


@pytest.mark.scenario("Redis loses the script")
async def test_a_script_that_cannot_be_brought_back(make, server):
    """Redis forgot the script and we may not load it any more: the call fails at once, after a few attempts."""
    store = make(server.address, budget=PATIENCE)
    await store.connect()
    server.ask("ACL", "SETUSER", "default", "-script|load")
    server.ask("SCRIPT", "FLUSH")
    (outcome,) = await answered(store, wanted())
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.message.split()[0]) == (FailureKind.PERMANENT, "NOSCRIPT")
    assert store.script_reloads == store.options.max_attempts
