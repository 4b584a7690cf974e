"""Three real services that ask one another: on one Redis and in memory, stopped, with another token, over TLS."""

import asyncio
import json
import signal
import socket
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress

import aiohttp
import pytest

from testkit.redis_server import free_port, redis_server
from testkit.tls_files import tls_files
from tests.app.test_live_documented import compare, documented, paths
from tests.gateway_process import FILE, gateway, statuses, upstream
from tests.service import service

pytestmark = pytest.mark.process

TOKEN = "a-token-of-the-tests-0123456789"
WELL = {"Authorization": f"Bearer {TOKEN}"}
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
POLICY = "domain: d\ndescriptors:\n  - {key: user, rate_limit: {unit: day, requests_per_unit: 5, name: daily}}\n"


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def common_port():
    """A port that is free on each of the addresses."""
    while True:
        port = free_port()
        with ExitStack() as stack, suppress(OSError):
            for host in HOSTS:
                stack.enter_context(socket.create_server((host, port)))
            return port


@asynccontextmanager
async def three(policy, *, last=None, **env):
    """Three replicas that know one another by their addresses; ``last`` are other variables of the last one."""
    port = common_port()
    peers = ",".join(f"{host}:{port}" for host in HOSTS)
    async with AsyncExitStack() as stack:
        replicas = []
        for host in HOSTS:
            own = {"ADMIN_TOKEN": TOKEN, "PEERS": peers, "PEER_ADDR": f"{host}:{port}", **env}
            own |= (last or {}) if host == HOSTS[-1] else {}
            replicas.append(await stack.enter_async_context(service("--config", policy, env=own)))
        yield replicas


async def hit(running, count, user="alice"):
    """Ask for a decision so many times; returns how many were denied."""
    body = json.dumps({"domain": "d", "descriptors": [{"entries": [{"key": "user", "value": user}]}]})
    denied = 0
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.post(f"http://{running.http}/json", data=body) as answer:
                denied += answer.status == 429
    return denied


async def show(running, path, headers=WELL):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{running.debug}/live/{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def eventually(running, path, seen):
    """The document once it has what is waited for: a replica counts within its ticks of a second."""
    async with asyncio.timeout(60):
        while True:
            status, found = await show(running, path)
            if status == 200 and seen(found):
                return found

            await asyncio.sleep(0.2)


async def limit_id(running):
    _, found = await show(running, "limits")
    return found["limits"][0]["id"]


def states(document):
    return sorted(each["state"] for each in document["replicas"])


@pytest.mark.redis
async def test_replicas_on_one_redis_show_one_counter(policy):
    """Each counted its own hits, and they are added; the counter is the same for all of them."""
    with redis_server() as server:
        async with three(policy, REDIS_URL=server.address) as replicas:
            for each in replicas:
                await each.logged("redis is connected")
            denied = [await hit(each, 3) for each in replicas]
            assert sum(denied) == 4
            found = await eventually(
                replicas[0],
                "overview?all=1",
                lambda each: sum(each["totals"].values()) == 9 and states(each) == ["ok"] * 3,
            )
            assert (found["totals"]["allowed"], found["totals"]["denied"]) == (5, 4)
            assert found["counters"] == "shared"
            assert [each["self"] for each in found["replicas"]] == [True, False, False]
            which = await limit_id(replicas[0])
            one = await eventually(replicas[1], f"limit?id={which}&all=1", lambda each: each["keys"])
    (key,) = one["keys"]
    assert (key["key"], key["hour"], key["used"], key["remaining"]) == ("user=alice", {"hits": 9, "denied": 4}, 5, 0)
    assert one["limit"]["replicas"] == 3
    assert sum(each["count"] for each in one["denials"]) == 4


async def test_replicas_in_memory_have_a_counter_each(policy):
    """Each grants its own, which the document says; limits, history and denials are merged too."""
    async with three(policy) as replicas:
        assert [await hit(each, 6) for each in replicas] == [1, 1, 1]
        found = await eventually(replicas[2], "limits?all=1", lambda each: each["limits"][0]["totals"]["denied"] == 3)
        assert found["counters"] == "each"
        assert (found["total"], found["limits"][0]["replicas"], found["limits"][0]["totals"]["allowed"]) == (1, 3, 15)
        assert (found["limits"][0]["active_keys"], found["limits"][0]["active_keys_most"]) == (1, 3)
        compare("The replicas", (await show(replicas[0], "replicas"))[1])
        added = documented("Merged documents") - {"limits[].differs", "policy.versions"}
        assert added <= set(paths(found))
        _, denials = await show(replicas[0], "denials?all=1")
        assert [each["key"] for each in denials["denials"]] == ["user=alice"] * 3
        status, history = await show(replicas[0], "history?all=1")
        assert (status, history["step"], len(history["allowed"])) == (200, 10, 360)


async def test_a_replica_that_does_not_answer_is_shown_as_such(policy):
    """One that is stopped is a timeout, one that ended is refused; the others are merged without it."""
    async with three(policy) as replicas:
        await hit(replicas[0], 1)
        replicas[1].process.send_signal(signal.SIGSTOP)
        try:
            _, found = await show(replicas[0], "replicas")
            told = {each["address"].partition(":")[0]: each["state"] for each in found["replicas"]}
            assert told == {**dict.fromkeys(HOSTS, "ok"), HOSTS[1]: "timeout"}
        finally:
            replicas[1].process.send_signal(signal.SIGCONT)
        replicas[1].process.kill()
        await replicas[1].ended()
        found = await eventually(replicas[0], "overview?all=1", lambda each: states(each) == ["ok", "ok", "refused"])
        assert found["totals"]["allowed"] >= 0


async def test_a_replica_with_another_token_is_unauthorized(policy):
    """Neither side reads the other; both say why."""
    async with three(policy, last={"ADMIN_TOKEN": "another-token-0123456789"}) as replicas:
        for each, headers in ((replicas[0], WELL), (replicas[2], {"Authorization": "Bearer another-token-0123456789"})):
            _, found = await show(each, "replicas", headers)
            count = states(found).count("unauthorized")
            assert count == (1 if each is replicas[0] else 2)


async def test_without_the_token_hashes_have_to_agree(policy):
    """With one IDENTITY_SECRET for all, a key has one hash on all replicas, and no one is shown by name."""
    async with three(policy) as replicas:
        status, error = await show(replicas[0], "limits?all=1", {})
        assert status == 403
        assert "IDENTITY_SECRET" in error["error"]
    async with three(policy, IDENTITY_SECRET="one for all") as replicas:
        for each in replicas:
            await hit(each, 1)
        which = await limit_id(replicas[0])

        async with asyncio.timeout(60):
            while True:
                _, found = await show(replicas[0], f"limit?id={which}&all=1", {})
                if [each["hour"]["hits"] for each in found["keys"]] == [3]:
                    break
                await asyncio.sleep(0.2)
    assert "alice" not in json.dumps(found)
    assert found["keys"][0]["key"].startswith("user=#")


async def test_over_tls_replicas_verify_one_another(policy, tmp_path):
    """With the certificate of gRPC on both sides; one of another authority is not merged."""
    (tmp_path / "others").mkdir()
    ours, others = tls_files(tmp_path, *HOSTS), tls_files(tmp_path / "others", *HOSTS)

    def env(files):
        return {
            "GRPC_SERVER_USE_TLS": "true",
            "GRPC_SERVER_TLS_CERT": str(files.server_certificate),
            "GRPC_SERVER_TLS_KEY": str(files.server_key),
            "GRPC_CLIENT_TLS_CACERT": str(files.authority),
        }

    async with three(policy, last=env(others), **env(ours)) as replicas:
        _, found = await show(replicas[0], "overview?all=1")
        assert states(found) == ["failed", "ok", "ok"]
        record = await replicas[0].logged("serving")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://{record['peer']}/live/overview", headers=WELL)


async def test_a_proxy_is_a_replica_too(tmp_path):
    """With the debug port, and PEER_ADDR beside it."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=1, policy="allow"))
        env = {"ADMIN_TOKEN": TOKEN, "PEER_ADDR": "127.0.0.1:0", "DEBUG_PORT": "0"}
        async with gateway("--config", str(file), env=env) as running:
            record = await running.logged("serving")
            async with aiohttp.ClientSession(f"http://{running.proxy}") as client:
                assert await statuses(client, 2, "/api/") == [200, 429]
            async with aiohttp.ClientSession(f"http://{record['peer']}") as session:
                for path, status in (("/live/overview", 200), ("/admin/policy", 404), ("/metrics", 404), ("/", 404)):
                    async with session.get(path, headers=WELL) as answer:
                        assert answer.status == status
            running.debug = record["debug"]
            status, found = await show(running, "replicas")
    assert (status, found["configured"], states(found)) == (200, False, ["ok"])


@pytest.mark.parametrize("env", [{"PEER_ADDR": "127.0.0.1:0"}, {"PEERS": "ratelimitd-peers"}])
async def test_without_a_token_the_start_fails(env, policy):
    """It says what to set."""
    async with service("--config", policy, env=env, ready=False) as running:
        assert await running.ended() != 0
    assert "set ADMIN_TOKEN or ADMIN_TOKEN_FILE" in running.text


async def test_a_view_that_is_off_is_told(policy):
    """A replica with LIVE_MAX_BYTES=0 has nothing to show, and says what to set."""
    async with three(policy, last={"LIVE_MAX_BYTES": "0"}) as replicas:
        _, found = await show(replicas[0], "replicas")
        assert states(found) == ["failed", "ok", "ok"]
        assert "LIVE_MAX_BYTES" in json.dumps(found)
