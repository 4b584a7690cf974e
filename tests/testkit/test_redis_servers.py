"""The real servers that tests stand on: TLS, Sentinel and cluster behave as the tests of the store take for granted."""

import signal
from contextlib import ExitStack

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from testkit.fault_proxy import fault_proxy
from testkit.redis_cluster import redis_cluster
from testkit.redis_sentinel import redis_sentinel
from testkit.redis_server import redis_server, until
from testkit.tls_files import tls_files

pytestmark = pytest.mark.redis

SECRET, OTHER_SECRET = "canary", "other canary"
ONCE = Retry(NoBackoff(), 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tls_files(tmp_path_factory.mktemp("tls"))


def _answers(server, **options):
    """Whether a client that is given only these options gets an answer."""
    try:
        with redis.Redis(port=server.port, retry=ONCE, socket_timeout=2, **options) as client:
            return client.ping()
    except redis.ConnectionError:
        return False


def test_tls_is_all_that_a_server_with_tls_speaks(files):
    """Who trusts its authority is answered at 127.0.0.1 and localhost, who speaks plainly or trusts nobody is not."""
    trusted = {"ssl": True, "ssl_ca_certs": str(files.authority)}
    with redis_server(tls=files) as server:
        assert _answers(server, host="127.0.0.1", **trusted)
        assert _answers(server, host="localhost", **trusted)
        assert not _answers(server)
        assert not _answers(server, ssl=True)


def test_a_client_certificate_can_be_demanded(files):
    """Nobody gets an answer without one."""
    trusted = {"ssl": True, "ssl_ca_certs": str(files.authority)}
    with redis_server(tls=files, client_certificate=True) as server:
        own = {"ssl_certfile": str(files.client_certificate), "ssl_keyfile": str(files.client_key)}
        assert _answers(server, **trusted, **own)
        assert not _answers(server, **trusted)


def test_a_certificate_can_be_for_another_name(tmp_path):
    """Then it does not prove this host, though its authority is trusted."""
    files = tls_files(tmp_path, "elsewhere.test")
    trusted = {"ssl": True, "ssl_ca_certs": str(files.authority)}
    with redis_server(tls=files) as server:
        assert not _answers(server, **trusted)
        assert _answers(server, **trusted, ssl_check_hostname=False)


@pytest.mark.slow
def test_sentinels_promote_the_replica_of_a_dead_master():
    """It has what the master had; the old one comes back as its replica, and can be promoted in its turn."""
    with redis_sentinel() as sentinels:
        first, second = sentinels.master, sentinels.replica
        with first.client(single_connection_client=True) as client:
            client.set("kept", "1")
            assert client.wait(1, 2000) == 1
        assert sentinels.kill_master() is first
        assert sentinels.promoted(first) is second
        assert second.ask("GET", "kept") == "1"
        assert sentinels.url == ",".join(["mymaster", *(each.address for each in sentinels.sentinels)])
        sentinels.restart(first)
        assert (first.role(), second.role()) == ("slave", "master")
        with pytest.raises(redis.exceptions.ReadOnlyError):
            first.ask("SET", "kept", "2")


def test_sentinels_promote_on_demand_with_tls_and_passwords(files):
    """Servers and sentinels speak TLS only and each want their own password; still they agree."""
    with redis_sentinel(tls=files, password=SECRET, sentinel_password=OTHER_SECRET) as sentinels:
        old = sentinels.master
        for each, wrong in ((old, OTHER_SECRET), (sentinels.sentinels[0], SECRET)):
            assert not _answers(each)
            with each.client(password=wrong, retry=ONCE) as client, pytest.raises(redis.AuthenticationError):
                client.execute_command("ROLE")
        new = sentinels.failover()
        assert new is sentinels.master is not old


@pytest.fixture(scope="module")
def cluster(files):
    """Three masters over TLS with a password, which clients are told to ask through proxies."""
    with ExitStack() as stack:
        proxies = [stack.enter_context(fault_proxy("")) for _ in range(3)]
        ports = [each.port for each in proxies]
        running = stack.enter_context(redis_cluster(tls=files, password=SECRET, announce=ports, node_timeout=5000))
        for node, proxy in zip(running.nodes, proxies, strict=True):
            proxy.upstream = node.address
        yield running


@pytest.fixture
def moving(cluster):
    """A migration of the slot of two keys, ``{a}1`` and ``{a}2``."""
    slot = cluster.slot("{a}1")
    source = cluster.owner(slot)
    for key in "12":
        source.ask("SET", f"{{a}}{key}", key)
    move = cluster.migration(slot, next(each for each in cluster.nodes if each is not source))
    yield move
    move.cancel()
    cluster.flush()


def test_a_cluster_has_every_slot_at_a_master(cluster):
    """Slots are shared evenly, and another node says MOVED to the address that clients are told."""
    assert cluster.masters() == cluster.nodes
    assert [cluster.owner(slot) for slot in (0, 8191, 16383)] == cluster.nodes
    slot = cluster.slot("{a}1")
    owner = cluster.owner(slot)
    other = next(each for each in cluster.nodes if each is not owner)
    assert (cluster.slot(b"{a}2"), other.ask("CLUSTER", "KEYSLOT", "{a}1")) == (slot, slot)
    with pytest.raises(redis.exceptions.MovedError) as moved:
        other.ask("GET", "{a}1")
    assert (moved.value.slot_id, f"127.0.0.1:{moved.value.port}") == (slot, owner.announced)
    assert cluster.url == ",".join(each.announced for each in cluster.nodes)
    assert owner.announced != owner.address


def _gone(source, key):
    """What the source says of a key that it has no more."""
    try:
        source.ask("GET", key)
    except redis.exceptions.AskError as asked:
        return asked
    return None


def test_a_slot_on_its_way_is_asked_for_at_both_ends(moving):
    """The source answers for keys it has, says ASK for those that have gone; the target wants ASKING."""
    moving.begin()
    assert moving.move_keys(1) == 1
    [(key, asked)] = [(key, asked) for key in ("{a}1", "{a}2") if (asked := _gone(moving.source, key))]
    assert moving.to.announced == f"127.0.0.1:{asked.port}"
    with pytest.raises(redis.exceptions.MovedError):
        moving.to.ask("GET", key)
    with moving.to.client(password=SECRET, single_connection_client=True, decode_responses=True) as client:
        client.execute_command("ASKING")
        assert client.execute_command("GET", key) == key[-1]
    assert moving.cluster.owner(moving.slot) is moving.source
    with pytest.raises(redis.exceptions.TryAgainError):
        moving.source.ask("MGET", "{a}1", "{a}2")
    assert moving.move_keys() == 1
    moving.finish()
    assert moving.cluster.owner(moving.slot) is moving.to
    assert moving.to.ask("MGET", "{a}1", "{a}2") == ["1", "2"]
    with pytest.raises(redis.exceptions.MovedError):
        moving.source.ask("GET", "{a}1")


def test_a_migration_can_be_called_off(moving):
    """Afterwards the source says nothing of the target."""
    moving.begin()
    with pytest.raises(redis.exceptions.AskError):
        moving.source.ask("GET", "{a}3")
    moving.cancel()
    assert moving.source.ask("GET", "{a}3") is None


@pytest.mark.slow
def test_a_replica_takes_over_its_masters_slots():
    """On demand while the master is well, and by itself when it is dead; the dead one comes back as its replica."""
    with redis_cluster(replicas=1) as cluster:
        first, [second] = cluster.owner(0), cluster.replicas(0)
        cluster.failover(second)
        assert (cluster.owner(0), cluster.replicas(0)) == (second, [first])
        second.kill()
        cluster.promoted(first)
        assert (cluster.owner(0), cluster.replicas(0)) == (first, [])
        second.start()
        cluster.settle()
        assert cluster.replicas(0) == [second]


def test_a_master_that_hangs_takes_the_cluster_down_until_it_is_back():
    """Without a replica the others say CLUSTERDOWN; and a cluster can end while one of its nodes hangs."""
    with redis_cluster(node_timeout=500) as cluster:
        hung, other = cluster.nodes[0], cluster.nodes[1]
        hung.hang()
        until(lambda: other.facts()["cluster_state"] == "fail", "the others notice")
        with pytest.raises(redis.exceptions.ClusterDownError):
            other.ask("SET", "a", "1")
        hung.resume()
        cluster.settle()
        hung.hang()
        processes = [each.process for each in cluster.nodes]
    assert {each.returncode for each in processes} == {-signal.SIGKILL}


def _end_badly(topology):
    """Hang one of the processes, and raise; leave the processes in the error."""
    with topology() as running:
        servers = [*running.servers, *running.sentinels] if topology is redis_sentinel else [running]
        processes = [each.process for each in servers]
        servers[0].hang()
        raise LookupError(processes)


@pytest.mark.parametrize("topology", [redis_server, redis_sentinel])
def test_processes_end_with_their_context(topology):
    """Whatever happens in it, even one that hangs."""
    with pytest.raises(LookupError) as raised:
        _end_badly(topology)
    assert {each.returncode for each in raised.value.args[0]} == {-signal.SIGKILL}
