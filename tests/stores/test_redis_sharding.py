"""Several servers behind one address: real Envoys in front of real servers, and what a trial says of others."""

import asyncio
from collections import Counter
from contextlib import ExitStack

import pytest

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter.seam import FailureKind
from testkit.envoy_redis import cluster_proxy, spreading_proxy
from testkit.redis_cluster import redis_cluster
from testkit.redis_server import redis_server
from tests.algorithms.cases import YEAR, ask
from tests.contract.cases import PATIENCE, allowed, charge
from tests.stores.test_redis_store import kinds, one

SERVERS = 3
LIMIT = 20
KEYS = 12
CALLERS = 16
RATE = make_rate("token_bucket", LIMIT, YEAR)


@pytest.fixture
def servers():
    """Servers that know nothing of each other."""
    with ExitStack() as stack:
        yield [stack.enter_context(redis_server(tcp=True)) for _ in range(SERVERS)]


@pytest.fixture(scope="module")
def cluster():
    """A cluster."""
    with redis_cluster(masters=SERVERS) as running:
        yield running


def name(number):
    """A counter's name."""
    return b"key%d_" % number


async def flood(store, rounds):
    """Ask for three limits at a time, in changing order, by many callers at once; count what passed of each key."""
    passed: Counter[int] = Counter()

    async def caller(first):
        for turn in range(rounds):
            numbers = [(first + turn * step) % KEYS for step in (1, 3, 7)]
            asked = ask(*((RATE, name(number), 1) for number in dict.fromkeys(numbers)))
            for number, outcome in zip(dict.fromkeys(numbers), await charge(store, [asked]), strict=True):
                assert isinstance(outcome, Decision), outcome
                passed[number] += outcome.allowed

    await asyncio.gather(*map(caller, range(CALLERS)))
    return passed


@pytest.mark.redis
@pytest.mark.envoy
@pytest.mark.scenario("several servers share the keys behind one address")
async def test_a_proxy_that_spreads_keys(make, edges, servers, tmp_path):
    """Behind Envoy's redis_proxy over three servers each limit is granted once, and each counter has one server."""
    async with spreading_proxy([server.address for server in servers], tmp_path) as address:
        store = make(address)
        assert await store.connect()
        assert [sharded for sharded, _ in edges.trials] == [True]
        assert await flood(store, 60) == dict.fromkeys(range(KEYS), LIMIT)
        held = Counter(key for server in servers for key in server.ask("KEYS", "key*"))
        assert held == {name(number).decode(): 1 for number in range(KEYS)}
        await store.close()


@pytest.mark.redis
@pytest.mark.envoy
@pytest.mark.scenario("several servers share the keys behind one address")
async def test_a_proxy_in_front_of_a_cluster(make, edges, cluster, tmp_path):
    """Behind Envoy in front of a cluster no call is refused for its slots, and each limit is granted once."""
    async with cluster_proxy([node.address for node in cluster.nodes], tmp_path) as address:
        store = make(address)
        assert await store.connect()
        ((sharded, why),) = edges.trials
        assert sharded
        assert "CROSSSLOT" in why
        assert await flood(store, 60) == dict.fromkeys(range(KEYS), LIMIT)
        await store.close()


@pytest.mark.redis
@pytest.mark.envoy
@pytest.mark.scenario("several servers share the keys behind one address")
async def test_all_or_nothing_behind_a_proxy(make, servers, tmp_path):
    """A limit that is over keeps the others of its request uncharged, on whichever servers they are."""
    one_left = make_rate("token_bucket", 1, YEAR)
    async with spreading_proxy([server.address for server in servers], tmp_path) as address:
        store = make(address)
        assert await store.connect()
        for _ in range(3):
            await charge(store, [ask((one_left, b"one_", 1), *((RATE, name(n), 1) for n in range(KEYS)), atomic=True)])
        counted = await charge(store, [ask(*((RATE, name(number), 0) for number in range(KEYS)))])
        assert [outcome.before for outcome in counted] == [1] * KEYS
        assert store.charged_in_part == 0
        await store.close()


@pytest.mark.redis
async def test_one_server(make, edges, servers):
    """A single server is found to be one, with a prefix too, and the trial leaves no key behind."""
    store = make(servers[0].address, prefix=b"mine:")
    assert await store.connect()
    assert edges.trials == [(False, "")]
    assert servers[0].ask("KEYS", "*") == []


@pytest.mark.redis
async def test_the_keys_of_a_trial(make, servers):
    """They begin with CACHE_KEY_PREFIX, and expire within seconds where they cannot be given back."""
    server = servers[0]
    server.ask("ACL", "SETUSER", "only", "on", ">secret", "+@all", "~mine:*")
    store = make(server.address, auth="only:secret", prefix=b"mine:")
    with server.client() as client, client.monitor() as monitor:
        assert await store.connect()
        seen = []
        while not any("EVALSHA" in line and " 1 mine:rl1:trial:" in line for line in seen):
            seen.append(monitor.next_command()["command"])
    lives = [int(line.split()[-1]) for line in seen if line.startswith("SET mine:rl1:trial:")]
    assert len(lives) == 32
    assert all(0 < life <= 10_000 for life in lives)


@pytest.mark.redis
async def test_a_trial_that_is_refused(make, edges, servers):
    """A full Redis, or a user without a right to the trial's keys, means unknown: one report; the start goes on."""
    full, partly, _ = servers
    full.ask("CONFIG", "SET", "maxmemory", 1)
    partly.ask("ACL", "SETUSER", "only", "on", ">secret", "+@all", "~rl1:probe", "~k_")
    stores = [make(full.address), make(partly.address, auth="only:secret")]
    assert [await store.connect() for store in stores] == [True, True]
    assert [sharded for sharded, _ in edges.trials] == [None, None]
    assert all(word in why for word, (_, why) in zip(("OOM", "NOPERM"), edges.trials, strict=True))
    assert kinds(await charge(stores[0], [one()])) == {FailureKind.OUT_OF_MEMORY}
    assert allowed(await charge(stores[1], [one()])) == [True]


async def test_slots_that_come_later(make, edges, fake):
    """CROSSSLOT while the service runs splits the call into calls of one key, and so are all later ones."""
    calls = []

    def behave(words, writer):
        keys = int(words[2])
        calls.append(keys)
        writer.write(b"*6\r\n:1\r\n:1\r\n:1\r\n:0\r\n:0\r\n:0\r\n" if keys == 1 else b"-CROSSSLOT Keys in request\r\n")

    store = make(await fake.start(behave))
    assert await store.connect()
    for _ in range(2):
        assert allowed(await charge(store, [one(b"a_"), one(b"b_")])) == [True, True]
    assert calls == [2, 1, 1, 1, 1]
    assert edges.trials[1:] == [(True, "CROSSSLOT Keys in request")]


async def test_a_trial_that_the_end_of_the_process_interrupts(make, edges, fake):
    """The connection of a trial is closed when the store is, though no node has it yet."""
    store = make(await fake.start(lambda _words, _writer: None, trial=b""))
    connecting = asyncio.ensure_future(store.connect())
    await fake.tried.wait()
    connecting.cancel()
    await asyncio.wait((connecting,))
    async with asyncio.timeout(PATIENCE):
        await fake.close()
    assert edges.seen == []


async def test_a_proxy_that_knows_no_hello(make, edges, fake):
    """A connection that is closed on HELLO names both causes: TLS, and a proxy such as twemproxy."""
    store = make(await fake.start(lambda _words, writer: writer.close(), unknown={b"HELLO"}))
    assert not await store.connect()
    assert "twemproxy" in edges.seen[0][1]
    assert "TLS" in edges.seen[0][1]


@pytest.mark.redis
@pytest.mark.envoy
@pytest.mark.scenario("several servers share the keys behind one address")
async def test_servers_that_die_behind_a_proxy(make, edges, servers, tmp_path):
    """One dead server fails its own keys alone; all of them dead are trouble, though the proxy answers."""
    async with spreading_proxy([server.address for server in servers], tmp_path) as address:
        store = make(address)
        assert await store.connect()
        assert kinds(await charge(store, [all_keys()])) == {None}
        servers.sort(key=lambda server: -int(server.ask("DBSIZE")))  # the first has some of the keys, whatever the hash
        servers[0].kill()
        async with asyncio.timeout(PATIENCE):
            while (found := kinds(await charge(store, [all_keys()]))) == {None}:
                pass
        assert found == {None, FailureKind.TRANSIENT}
        assert (edges.refusals, store.connected) == ([], True)
        for server in servers[1:]:
            server.kill()
        async with asyncio.timeout(PATIENCE):
            while not store.topology.trouble:
                await charge(store, [all_keys()])
        for server in servers:
            server.start()
        async with asyncio.timeout(PATIENCE):
            while kinds(await charge(store, [all_keys()])) != {None}:
                pass
        assert store.topology.trouble == ""
        assert edges.ups == [True]
        await store.close()


def all_keys():
    """A charge of each key."""
    return ask(*((make_rate("token_bucket", 1_000_000, YEAR), name(number), 1) for number in range(KEYS)))
