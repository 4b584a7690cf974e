"""``ratelimitd doctor``: what it says of real servers, ports, policies and settings that fall short in each way."""

import json
import resource
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ratelimitd.app.doctor import facts, policy, ports, process, redis, settings, within
from ratelimitd.app.doctor.case import Case
from ratelimitd.app.doctor.finding import Finding, Level
from ratelimitd.app.doctor.reach import Server
from ratelimitd.app.gateway_files import read
from ratelimitd.cli import main
from ratelimitd.settings import load
from ratelimitd.stores.redis.script import script
from tests.redis_cluster import redis_cluster
from tests.redis_sentinel import redis_sentinel
from tests.redis_server import RedisServer, faked_clock, free_port, redis_server
from tests.service import service
from tests.tls_files import tls_files

GOOD = "domain: shop\ndescriptors:\n  - key: user\n    rate_limit: {unit: second, requests_per_unit: 5}\n"
LOCAL = GOOD + "    on_store_failure: local\n"
FREE = {
    **dict.fromkeys(("HOST", "GRPC_HOST", "DEBUG_HOST"), "127.0.0.1"),
    **dict.fromkeys(("PORT", "GRPC_PORT", "DEBUG_PORT"), "0"),
    "STORE_BUDGET": "2s",
}
PATIENT = {"REDIS_TIMEOUT": "10s"}
"""A test machine may be slower than any budget."""

RIGHTS = "+evalsha +script|load +time +set +get +pttl +pexpire +del +zadd +zcard +zcount +zrange +zremrangebyrank"

Check = Callable[[Case], AsyncIterator[Finding]]


def case(*config: str, with_service: bool = False, **env: str) -> Case:
    return Case(load({**FREE, **(PATIENT if "REDIS_URL" in env else {}), **env}, {}), config, None, with_service)


async def looked(check: Check, at: Case) -> list[Finding]:
    """What a check finds; whatever is not well says what to change."""
    found = [finding async for finding in check(at)]
    assert all(bool(finding.change) == (finding.level is not Level.OK) for finding in found), found
    return found


def only(found: list[Finding], words: str, level: Level) -> Finding:
    """The one finding with these words; it is of this level."""
    (finding,) = (each for each in found if words in each.found)
    assert finding.level is level, finding
    return finding


def levels(found: list[Finding]) -> set[Level]:
    return {finding.level for finding in found}


def doctor(*words: str, **env: str) -> Result:
    return CliRunner(env={**FREE, **(PATIENT if "REDIS_URL" in env else {}), **env}).invoke(main, ["doctor", *words])


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD)
    return str(file)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A redis-server as docs/operations.md would have it; whoever changes its settings puts them back."""
    with redis_server("--maxmemory", "100mb", "--maxmemory-policy", "noeviction") as running:
        yield running


@pytest.fixture
def setting(server: RedisServer) -> Iterator[Callable[[str, str], None]]:
    """Change a setting of the server for this test."""
    before: dict[str, str] = {}

    def change(name: str, value: str) -> None:
        before[name] = server.ask("CONFIG", "GET", name)[1]
        server.ask("CONFIG", "SET", name, value)

    yield change
    for name, value in before.items():
        server.ask("CONFIG", "SET", name, value)


def test_all_is_well(server: RedisServer, good: str) -> None:
    """A good policy and a good Redis are exit code 0, and Redis is left with nothing but the probe's key."""
    server.ask("FLUSHALL")
    done = doctor("--config", good, "--json", REDIS_URL=server.address)

    told = json.loads(done.output)
    assert (done.exit_code, told["ok"], told["bad"]) == (0, True, 0)
    assert {each["subject"] for each in told["findings"]} == {
        *("settings", "policy", f"redis {server.address}", "ports", "process")
    }
    assert set(server.ask("KEYS", "*")) <= {"rl1:probe"}


def test_bad_is_exit_code_1(good: str) -> None:
    """A Redis that is not there is exit code 1, and what to do about it is on the next line."""
    done = doctor("--config", good, REDIS_URL=f"127.0.0.1:{free_port()}")

    assert done.exit_code == 1
    assert "bad   Connection refused\n        change: start Redis there" in done.output
    assert done.output.endswith("1 bad, 1 warning\n")


def test_warnings_count_when_strict(good: str) -> None:
    """A warning alone is exit code 0, and 1 with --strict."""
    assert [doctor("--config", good, *more, SHADOW_MODE="true").exit_code for more in ([], ["--strict"])] == [0, 1]
    assert doctor("--config", good, "--strict").exit_code == 0


def test_a_wrong_call_is_exit_code_2() -> None:
    """A flag that does not exist is no finding."""
    assert doctor("--no-such-flag").exit_code == 2


def test_settings_that_serve_would_refuse() -> None:
    """Every problem of the settings is told, with the flag or variable that made it; nothing else is looked at."""
    told = json.loads(doctor("--grpc-port", "x", "--json", PORT="70000").output)

    assert [each["found"] for each in told["findings"]] == [
        'PORT="70000" cannot be used',
        '--grpc-port="x" cannot be used',
    ]


async def test_settings_that_promise_what_they_do_not_keep() -> None:
    """Instances that count in memory share no limit, and what nobody reads is named."""
    found = await looked(settings.check, case(REPLICAS="3", USE_STATSD="true"))

    only(found, "REPLICAS is 3", Level.WARN)
    only(found, "USE_STATSD", Level.WARN)


async def test_a_budget_that_outlasts_envoy() -> None:
    """A budget above Envoy's own patience is a warning, the default is none."""
    for budget, warned in (("25ms", True), ("15ms", False)):
        found = await looked(settings.check, case(REDIS_URL="r:1", STORE_BUDGET=budget))
        assert (Level.WARN in levels(found)) is warned


async def test_errors_of_the_policy(tmp_path: Path) -> None:
    """Each error of a policy is bad, with its file and line."""
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("second", "foo") + "  - value: x\n")
    found = await looked(policy.check, case(str(file)))

    assert levels(found) == {Level.BAD}
    for each, line in zip(found, (4, 5), strict=True):
        assert each.found.startswith(f"{file}: ")
        assert each.found.endswith(f"(line {line})")
    assert "docs/policies.md" in found[0].change


async def test_no_policy_at_all(tmp_path: Path) -> None:
    """Without a policy it says how one is named."""
    (found,) = await looked(policy.check, case(RUNTIME_ROOT=str(tmp_path / "none")))
    assert "--config" in found.change


async def test_local_limits_without_replicas(tmp_path: Path) -> None:
    """on_store_failure: local with one replica is a warning where Redis counts, and none with the true number."""
    file = tmp_path / "shop.yaml"
    file.write_text(LOCAL)

    only(await looked(policy.check, case(str(file), REDIS_URL="r:1")), "1 limits say", Level.WARN)
    found = await looked(policy.check, case(str(file), REDIS_URL="r:1", REPLICAS="2"))
    assert only(found, "while Redis is away", Level.OK).found.endswith("1 local")
    assert levels(found) == levels(await looked(policy.check, case(str(file)))) == {Level.OK}


async def test_a_good_server(server: RedisServer) -> None:
    """Nothing is to be changed in a server as the docs would have it."""
    found = await looked(redis.check, case(REDIS_URL=server.address))

    assert levels(found) == {Level.OK}
    for words in ("a master; the script is loaded", "of STORE_BUDGET", "ms apart", "maxmemory 100 MiB"):
        only(found, words, Level.OK)


async def test_memory_has_no_servers() -> None:
    """With counters in memory there is no Redis to look at."""
    assert await looked(redis.check, case()) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("maxmemory-policy", "allkeys-lru", "may forget any counter"),
        ("maxmemory", "0", "maxmemory is 0"),
        ("timeout", "30", "timeout is 30"),
    ],
)
async def test_settings_of_a_server(
    server: RedisServer, setting: Callable[[str, str], None], name: str, value: str, words: str
) -> None:
    """A setting that the docs warn of is a warning that names the command to change it."""
    setting(name, value)
    finding = only(await looked(redis.check, case(REDIS_URL=server.address)), words, Level.WARN)
    assert "CONFIG SET" in finding.change


async def test_a_disk_that_is_waited_for() -> None:
    """An append-only file that is synced at each write is a warning."""
    with redis_server("--appendonly", "yes", "--appendfsync", "always") as server:
        only(await looked(redis.check, case(REDIS_URL=server.address)), "appendfsync is always", Level.WARN)


async def test_too_few_replicas(server: RedisServer, setting: Callable[[str, str], None]) -> None:
    """A master that waits for replicas it has not got is bad: it refuses writes."""
    setting("min-replicas-to-write", "1")
    found = await looked(redis.check, case(REDIS_URL=server.address))

    only(found, "0 replicas are in sync", Level.BAD)
    assert "min-replicas-to-write" in only(found, "NOREPLICAS", Level.BAD).change


def test_a_wrong_password(good: str) -> None:
    """A password that is refused is bad, the setting is named, and the password is shown nowhere."""
    with redis_server("--requirepass", "right-password") as server:
        done = doctor("--config", good, REDIS_URL=server.address, REDIS_AUTH="wrong-password")

    assert done.exit_code == 1
    assert "WRONGPASS" in done.output
    assert "change: set REDIS_AUTH" in done.output
    assert "wrong-password" not in done.output


async def test_a_missing_right(server: RedisServer) -> None:
    """A right that the user lacks is bad, and named."""
    server.ask("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", *RIGHTS.replace("+zcount ", "").split())
    (found,) = await looked(redis.check, case(REDIS_URL=server.address, REDIS_AUTH="u:pw"))
    assert found.level is Level.BAD
    assert "+zcount" in found.found


async def test_the_least_rights(server: RedisServer) -> None:
    """A user with no right but those of the service is well, and what could not be looked at is told."""
    server.ask("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", *RIGHTS.split())
    found = await looked(redis.check, case(REDIS_URL=server.address, REDIS_AUTH="u:pw"))

    assert levels(found) == {Level.OK}
    only(found, "INFO is not permitted", Level.OK)
    only(found, "CONFIG GET is not permitted", Level.OK)


async def test_a_replica() -> None:
    """A replica is bad: what is to be named instead is said."""
    with redis_server("--replicaof", "127.0.0.1 1") as replica:
        (found,) = await looked(redis.check, case(REDIS_URL=replica.address))
    assert (found.level, "it is a replica" in found.found) == (Level.BAD, True)
    assert found.change == "name the master in REDIS_URL, or its Sentinels with REDIS_TYPE=sentinel"


async def test_a_server_that_hangs() -> None:
    """A server that accepts and never answers is given up after REDIS_TIMEOUT."""
    with redis_server() as server:
        server.hang()
        (found,) = await looked(redis.check, case(REDIS_URL=server.address, REDIS_TIMEOUT="100ms"))
        server.resume()
    assert (found.level, "within 0.1 s" in found.found) == (Level.BAD, True)


async def test_a_server_that_hangs_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs once it was greeted is bad, and the probes end all the same."""
    monkeypatch.setattr(facts, "PROBING", 0.2)
    with redis_server() as server:
        (asked,) = redis.redises(case(REDIS_URL=server.address, STORE_BUDGET="15ms").settings)
        seen, link = await facts.gather(Server(asked, asked.place.addresses[0]), script())
        server.hang()
        await facts.probe(link, seen, script())
        link.give_up("the end of the test")
        server.resume()
    assert "no answer to the script" in seen.probes.unanswered


async def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody looks up costs a bound, and the process need not wait for the resolver."""
    never = threading.Event()
    monkeypatch.setattr(within, "NAMES", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(10))
    (found,) = await looked(redis.check, case(REDIS_URL="redis.test:6379"))
    never.set()

    assert (found.level, "was not looked up within" in found.found) == (Level.BAD, True)


async def test_a_clock_that_is_ahead(tmp_path: Path) -> None:
    """A Redis whose clock is an hour ahead is a warning with the difference."""
    clock = faked_clock(tmp_path)
    if clock is None:
        pytest.skip("needs libfaketime (Debian: faketime)")
    clock.step_to(3_600)
    with redis_server(env=clock.env) as server:
        found = await looked(redis.check, case(REDIS_URL=server.address))
    assert " s ahead of this host's" in only(found, "3600.", Level.WARN).found


async def test_tls(tmp_path: Path) -> None:
    """Over TLS the certificate's days are told; an authority that did not sign it is bad, and its setting named."""
    files = tls_files(tmp_path)
    (tmp_path / "other").mkdir()
    other = tls_files(tmp_path / "other")
    with redis_server(tls=files) as server:
        url = f"rediss://{server.address}"
        found = await looked(redis.check, case(REDIS_URL=url, REDIS_TLS_CACERT=str(files.authority)))
        (refused,) = await looked(redis.check, case(REDIS_URL=url, REDIS_TLS_CACERT=str(other.authority)))

    only(found, "its certificate is good for", Level.OK)
    assert (refused.level, "REDIS_TLS_CACERT" in refused.change) == (Level.BAD, True)


async def test_the_second_redis(server: RedisServer) -> None:
    """REDIS_PERSECOND's server is looked at too, and its own settings are named."""
    second = f"127.0.0.1:{free_port()}"
    env = {"REDIS_URL": server.address, "REDIS_PERSECOND": "true", "REDIS_PERSECOND_URL": second}
    found = await looked(redis.check, case(**env))

    away = only(found, "Connect call failed", Level.BAD)
    assert (away.subject, "REDIS_PERSECOND_URL" in away.change) == (f"redis per second {second}", True)
    only(found, "a master", Level.OK)


async def test_sentinels() -> None:
    """The master that Sentinels name is looked at; one Sentinel that is away is a warning, all of them are bad."""
    gone = f"127.0.0.1:{free_port()}"
    with redis_sentinel() as running:
        env = {"REDIS_TYPE": "sentinel", "REDIS_URL": f"{running.url},{gone}"}
        found = await looked(redis.check, case(**env))
        master = running.master.address
    alone = await looked(redis.check, case(REDIS_TYPE="sentinel", REDIS_URL=f"mymaster,{gone}"))

    only(found, f"3 Sentinels name {master}", Level.OK)
    assert only(found, "Connect call failed", Level.WARN).subject == f"redis {gone}"
    assert only(found, "a master; ", Level.OK).subject == f"redis {master}"
    only(found, "min-replicas-to-write 0", Level.WARN)
    only(alone, "Connect call failed", Level.BAD)


async def test_a_cluster() -> None:
    """Every master of a cluster is looked at; a slot without one is bad, and so are braces in the prefix a warning."""
    with redis_cluster("--maxmemory", "100mb") as running:
        env = {"REDIS_TYPE": "cluster", "REDIS_URL": running.nodes[0].address}
        well = await looked(redis.check, case(**env))
        braced = await looked(redis.check, case(**env, CACHE_KEY_PREFIX="{x}"))
        for node in running.nodes:
            node.ask("CLUSTER", "DELSLOTS", 7)
        lacking = await looked(redis.check, case(**env))

    only(well, "3 masters have all 16384 slots", Level.OK)
    assert levels(well) == {Level.OK}
    assert len([each for each in well if "of STORE_BUDGET" in each.found]) == 3
    only(braced, "has braces", Level.WARN)
    assert levels(braced) == {Level.OK, Level.WARN}
    only(lacking, "1 of 16384 slots have no master: 7-7", Level.BAD)


async def test_the_wrong_type() -> None:
    """A lone server where a cluster was named is bad, with the setting to write."""
    with redis_server(tcp=True) as lone:
        (found,) = await looked(redis.check, case(REDIS_TYPE="cluster", REDIS_URL=lone.address))
    assert (found.level, found.change) == (Level.BAD, "write REDIS_TYPE=single")


async def test_a_port_that_a_stranger_has() -> None:
    """A port that something else holds is bad, with the setting that moves it."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        number = stranger.getsockname()[1]
        found = await looked(ports.check, case(GRPC_PORT=str(number)))
    assert "GRPC_PORT" in only(found, f"gRPC 127.0.0.1:{number} is taken", Level.BAD).change
    assert len([each for each in found if each.level is Level.OK]) == 2


async def test_ports_that_the_service_has(good: str) -> None:
    """Beside a service that runs, its own ports are well."""
    async with service("--config", good) as running:
        numbers = [each.rpartition(":")[2] for each in (running.http, running.grpc, running.debug)]
        env = dict(zip(("PORT", "GRPC_PORT", "DEBUG_PORT"), numbers, strict=True))
        found = await looked(ports.check, case(good, **env))

    assert [each.found.endswith(f"answers http://{running.http}/livez") for each in found] == [True] * 3
    assert levels(found) == {Level.OK}


async def test_one_port_for_two() -> None:
    """Two of the service's own on one port are bad, though the port is free."""
    number = str(free_port())
    found = await looked(ports.check, case(PORT=number, GRPC_PORT=number, GRPC_HOST="0.0.0.0"))
    assert "are the same port" in only(found, "gRPC", Level.BAD).found


async def test_a_unix_socket(tmp_path: Path) -> None:
    """GRPC_UDS is well where it can be made, bad in a folder that is not there and where somebody else listens."""
    free, nowhere = str(tmp_path / "s"), str(tmp_path / "none" / "s")
    only(await looked(ports.check, case(GRPC_UDS=free)), f"unix:{free} is free", Level.OK)
    only(await looked(ports.check, case(GRPC_UDS=nowhere)), "cannot be made", Level.BAD)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(free)
        stranger.listen()
        only(await looked(ports.check, case(GRPC_UDS=free)), "not by a ratelimitd", Level.BAD)
    assert Path(free).is_socket()


async def test_an_admin_api_for_everybody() -> None:
    """A token that crosses the network in plain text is a warning, one that stays on the host is none."""
    env = {"ADMIN_TOKEN": "0123456789abcdef", "ADMIN_REMOTE": "true"}
    only(await looked(ports.check, case(**{**env, "DEBUG_HOST": "0.0.0.0"})), "plain text", Level.WARN)
    assert levels(await looked(ports.check, case(**env))) == {Level.OK}


async def test_an_address_that_is_not_ours() -> None:
    """An address of no interface of this host is bad."""
    only(await looked(ports.check, case(HOST="192.0.2.1")), "cannot listen on 192.0.2.1", Level.BAD)


GATEWAY = """\
listen: 127.0.0.1:{port}
upstreams: {{app: {{endpoints: ["http://127.0.0.1:9"]}}}}
routes: [{{upstream: app}}]
policies:
  domain: d
  descriptors: []
"""


async def test_the_ports_of_a_gateway(tmp_path: Path) -> None:
    """Of a gateway file the proxy's port is looked at, and with --with-service the service's as well."""
    file, number = tmp_path / "gateway.yaml", free_port()
    file.write_text(GATEWAY.format(port=number))
    gateway = await read(str(file))
    alone = await looked(ports.check, case(str(file))._replace(gateway=gateway))
    both = await looked(ports.check, case(str(file), with_service=True)._replace(gateway=gateway))

    assert [each.found for each in alone] == [f"proxy 127.0.0.1:{number} is free"]
    assert len(both) == 4


def test_errors_of_a_gateway(tmp_path: Path) -> None:
    """A gateway file with an error is bad, with its line."""
    file = tmp_path / "gateway.yaml"
    file.write_text(GATEWAY.format(port=0).replace("upstream: app", "upstream: nobody"))
    done = doctor("--config", str(file))

    assert done.exit_code == 1
    assert "gateway.yaml" in done.output
    assert "(line 3)" in done.output


async def test_the_fast_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was not built, auto is a warning, and asking for it is bad."""
    only(await looked(process.check, case()), "nghttp2, the fast transport", Level.OK)
    monkeypatch.setattr(process, "nghttp2_available", lambda: False)
    only(await looked(process.check, case()), "not built", Level.WARN)
    only(await looked(process.check, case(TRANSPORT="nghttp2")), "not built", Level.BAD)


async def test_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer files than callers, Redis and the process itself take is a warning with the number to set."""

    def limit(soft: int) -> Callable[[Any], tuple[int, int]]:
        return lambda _: (soft, 1 << 20)

    monkeypatch.setattr(resource, "getrlimit", limit(586))
    at = case(REDIS_URL="r:1", REDIS_POOL_SIZE="10")
    only(await looked(process.check, at), "586 files may be open", Level.OK)
    monkeypatch.setattr(resource, "getrlimit", limit(585))
    assert "ulimit -n 586" in only(await looked(process.check, at), "585 files may be open", Level.WARN).change


async def test_files_that_the_start_reads(tmp_path: Path) -> None:
    """TLS files and the token's are tried as the start would."""
    files = tls_files(tmp_path)
    tls = {"GRPC_SERVER_USE_TLS": "true", "GRPC_SERVER_TLS_CERT": str(files.server_certificate)}
    good_key, bad_key = str(files.server_key), str(files.client_key)

    found = await looked(process.check, case(**tls, GRPC_SERVER_TLS_KEY=good_key))
    only(found, "can be used", Level.OK)
    only(await looked(process.check, case(**tls, GRPC_SERVER_TLS_KEY=bad_key)), "TLS of gRPC", Level.BAD)
    only(await looked(process.check, case(ADMIN_TOKEN_FILE=str(tmp_path / "none"))), "ADMIN_TOKEN_FILE", Level.BAD)
