"""``ratelimitd doctor``: what it says of real Redis servers that fall short in each way."""

import socket
import threading

import pytest

from ratelimitd.doctor import blocking, redis, redis_facts
from ratelimitd.doctor.finding import Level
from ratelimitd.doctor.redis_servers import CheckedServer
from ratelimitd.stores.redis.script import composed_script
from testkit.envoy_redis import spreading_proxy
from testkit.fault_proxy import Way, fault_proxy
from testkit.redis_cluster import redis_cluster
from testkit.redis_sentinel import redis_sentinel
from testkit.redis_server import faked_clock, free_port, redis_server
from testkit.tls_files import tls_files
from tests.doctor.doctoring import RIGHTS, case, doctor, levels, looked, only


@pytest.mark.redis
async def test_a_good_server(server):
    """Nothing is to be changed in a server as the docs would have it."""
    found = await looked(redis.check, case(REDIS_URL=server.address))

    assert levels(found) == {Level.OK}
    for words in ("a master; the script is loaded", "of STORE_BUDGET", "ms apart", "maxmemory 100 MiB", "every key"):
        only(found, words, Level.OK)


@pytest.mark.redis
@pytest.mark.envoy
async def test_several_servers_behind_a_proxy(tmp_path):
    """Servers that share the keys behind a proxy are told, with the price."""
    with redis_server(tcp=True) as one, redis_server(tcp=True) as other:
        async with spreading_proxy([one.address, other.address], tmp_path) as address:
            found = await looked(redis.check, case(REDIS_URL=address))
    assert "REDIS_TYPE=cluster" in only(found, "several servers share the keys", Level.WARN).change


@pytest.mark.redis
async def test_a_server_that_is_always_slow(server):
    """A Redis that answers later than the budget is told from one that is away, and the budget to set is named."""
    with fault_proxy(server.address) as proxy, proxy.fault(replies=Way(delay=0.03)):
        found = await looked(redis.check, case(REDIS_URL=proxy.address, STORE_BUDGET="15ms"))
    finding = only(found, "always slower than the budget", Level.BAD)
    assert "set STORE_BUDGET=" in finding.change


async def test_memory_has_no_servers():
    """With counters in memory there is no Redis to look at."""
    assert await looked(redis.check, case()) == []


@pytest.mark.redis
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("maxmemory-policy", "allkeys-lru", "may evict any counter"),
        ("maxmemory", "0", "maxmemory is 0"),
        ("timeout", "30", "timeout is 30"),
        ("hz", "10", "hz is 10"),
    ],
)
async def test_settings_of_a_server(server, setting, name, value, words):
    """A setting that the docs warn of is a warning that names the command to change it."""
    setting(name, value)
    found = await looked(redis.check, case(REDIS_URL=server.address, STORE_BUDGET="15ms"))
    finding = only(found, words, Level.WARN)
    assert "CONFIG SET" in finding.change


@pytest.mark.redis
async def test_a_disk_that_is_waited_for():
    """An append-only file that is synced at each write is a warning."""
    with redis_server("--appendonly", "yes", "--appendfsync", "always") as server:
        only(await looked(redis.check, case(REDIS_URL=server.address)), "appendfsync is always", Level.WARN)


@pytest.mark.redis
async def test_too_few_replicas(server, setting):
    """A master that waits for replicas it has not got is bad: it refuses writes."""
    setting("min-replicas-to-write", "1")
    found = await looked(redis.check, case(REDIS_URL=server.address))

    only(found, "0 replicas are in sync", Level.BAD)
    assert "min-replicas-to-write" in only(found, "NOREPLICAS", Level.BAD).change


@pytest.mark.redis
@pytest.mark.process
def test_a_wrong_password(good):
    """A password that is refused is bad, the setting is named, and the password is shown nowhere."""
    with redis_server("--requirepass", "right-password") as server:
        done = doctor("--config", good, REDIS_URL=server.address, REDIS_AUTH="wrong-password")

    assert done.exit_code == 1
    assert "WRONGPASS" in done.output
    assert "change: set REDIS_AUTH" in done.output
    assert "wrong-password" not in done.output


@pytest.mark.redis
async def test_a_missing_right(server):
    """A right that the user lacks is bad, and named."""
    server.ask("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", *RIGHTS.replace("+zcount ", "").split())
    (found,) = await looked(redis.check, case(REDIS_URL=server.address, REDIS_AUTH="u:pw"))
    assert found.level is Level.BAD
    assert "+zcount" in found.found


@pytest.mark.redis
async def test_the_least_rights(server):
    """A user with no right but those of the service is well, and what could not be looked at is told."""
    server.ask("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", *RIGHTS.split())
    found = await looked(redis.check, case(REDIS_URL=server.address, REDIS_AUTH="u:pw"))

    assert levels(found) == {Level.OK}
    only(found, "INFO is not permitted", Level.OK)
    only(found, "CONFIG GET is not permitted", Level.OK)


@pytest.mark.redis
async def test_a_replica():
    """A replica is bad: what is to be named instead is said."""
    with redis_server("--replicaof", "127.0.0.1", "1") as replica:
        (found,) = await looked(redis.check, case(REDIS_URL=replica.address))
    assert (found.level, "is a read-only replica" in found.found) == (Level.BAD, True)
    assert found.change == "set REDIS_URL to the master, or to its Sentinels with REDIS_TYPE=sentinel"


@pytest.mark.redis
async def test_a_server_that_hangs():
    """A server that accepts and never answers is given up after REDIS_TIMEOUT."""
    with redis_server() as server:
        server.hang()
        (found,) = await looked(redis.check, case(REDIS_URL=server.address, REDIS_TIMEOUT="100ms"))
        server.resume()
    assert (found.level, "within 0.1 s" in found.found) == (Level.BAD, True)


@pytest.mark.redis
async def test_a_server_that_hangs_later(monkeypatch):
    """A server that hangs once it was greeted is bad, and the probes end all the same."""
    monkeypatch.setattr(redis_facts, "PROBES_TIMEOUT", 0.2)
    with redis_server() as server:
        (asked,) = redis.redises(case(REDIS_URL=server.address, STORE_BUDGET="15ms").settings)
        seen, connection = await redis_facts.gather(
            CheckedServer(asked, asked.connect.deployment.addresses[0]), composed_script()
        )
        server.hang()
        await redis_facts.probe(connection, seen, composed_script())
        connection.close("the end of the test")
        server.resume()
    assert "no reply to the script" in seen.probes.unanswered


async def test_a_resolver_that_hangs(monkeypatch):
    """A name that nobody looks up costs a bound, and the process need not wait for the resolver."""
    never = threading.Event()
    monkeypatch.setattr(blocking, "LOOKUP_TIMEOUT", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(10))
    (found,) = await looked(redis.check, case(REDIS_URL="redis.test:6379"))
    never.set()

    assert (found.level, "was not resolved within" in found.found) == (Level.BAD, True)


@pytest.mark.redis
async def test_a_clock_that_is_ahead(tmp_path):
    """A Redis whose clock is an hour ahead is a warning with the difference."""
    clock = faked_clock(tmp_path)
    if clock is None:
        pytest.skip("needs libfaketime (Debian: faketime)")
    clock.step_to(3_600)
    with redis_server(env=clock.env) as server:
        found = await looked(redis.check, case(REDIS_URL=server.address))
    assert " s ahead of this host's" in only(found, "3600.", Level.WARN).found


@pytest.mark.redis
async def test_tls(tmp_path):
    """Over TLS the certificate's days are told; an authority that did not sign it is bad, and its setting named."""
    files = tls_files(tmp_path)
    (tmp_path / "other").mkdir()
    other = tls_files(tmp_path / "other")
    with redis_server(tls=files) as server:
        url = f"rediss://{server.address}"
        found = await looked(redis.check, case(REDIS_URL=url, REDIS_TLS_CACERT=str(files.authority)))
        (refused,) = await looked(redis.check, case(REDIS_URL=url, REDIS_TLS_CACERT=str(other.authority)))

    only(found, "its certificate expires in", Level.OK)
    assert (refused.level, "REDIS_TLS_CACERT" in refused.change) == (Level.BAD, True)


@pytest.mark.redis
async def test_the_second_redis(server):
    """REDIS_PERSECOND's server is looked at too, and its own settings are named."""
    second = f"127.0.0.1:{free_port()}"
    env = {"REDIS_URL": server.address, "REDIS_PERSECOND": "true", "REDIS_PERSECOND_URL": second}
    found = await looked(redis.check, case(**env))

    away = only(found, "Connection refused", Level.BAD)
    assert (away.subject, "REDIS_PERSECOND_URL" in away.change) == (f"redis per second {second}", True)
    only(found, "a master", Level.OK)


@pytest.mark.redis
async def test_sentinels():
    """The master that Sentinels name is looked at; one Sentinel that is away is a warning, all of them are bad."""
    gone = f"127.0.0.1:{free_port()}"
    with redis_sentinel() as running:
        env = {"REDIS_TYPE": "sentinel", "REDIS_URL": f"{running.url},{gone}"}
        found = await looked(redis.check, case(**env))
        master = running.master.address
    alone = await looked(redis.check, case(REDIS_TYPE="sentinel", REDIS_URL=f"mymaster,{gone}"))

    only(found, f"3 Sentinels report {master}", Level.OK)
    assert only(found, "Connection refused", Level.WARN).subject == f"redis {gone}"
    assert only(found, "a master; ", Level.OK).subject == f"redis {master}"
    only(found, "min-replicas-to-write 0", Level.WARN)
    only(alone, "Connection refused", Level.BAD)


@pytest.mark.redis
async def test_a_cluster():
    """Every master of a cluster is looked at; a slot without one is bad, and so are braces in the prefix a warning."""
    with redis_cluster("--maxmemory", "100mb") as running:
        env = {"REDIS_TYPE": "cluster", "REDIS_URL": running.nodes[0].address}
        well = await looked(redis.check, case(**env))
        braced = await looked(redis.check, case(**env, CACHE_KEY_PREFIX="{x}"))
        for node in running.nodes:
            node.ask("CLUSTER", "DELSLOTS", 7)
        lacking = await looked(redis.check, case(**env))

    only(well, "3 masters serve all 16384 slots", Level.OK)
    assert levels(well) == {Level.OK}
    assert len([each for each in well if "of STORE_BUDGET" in each.found]) == 3
    only(braced, "has braces", Level.WARN)
    assert levels(braced) == {Level.OK, Level.WARN}
    only(lacking, "1 of 16384 slots have no master: 7-7", Level.BAD)


@pytest.mark.redis
async def test_the_wrong_type():
    """A lone server where a cluster was named is bad, with the setting to write."""
    with redis_server(tcp=True) as lone:
        (found,) = await looked(redis.check, case(REDIS_TYPE="cluster", REDIS_URL=lone.address))
    assert (found.level, found.change) == (Level.BAD, "set REDIS_TYPE=single")
