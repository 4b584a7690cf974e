"""The admin API of a running service, with memory and with Redis."""

import json
import time
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest

from ratelimitd.algorithms import ALGORITHMS
from testkit.redis_server import redis_server
from tests.gateway_process import FILE, gateway
from tests.service import outer_address, service

pytestmark = pytest.mark.process

TOKEN = "a-token-of-the-tests-0123456789"

POLICY = "domain: d\ndescriptors:\n" + "".join(
    f"  - {{key: {name}, rate_limit: {{unit: day, requests_per_unit: 10, algorithm: {name}}}}}\n" for name in ALGORITHMS
)


def policy_file(tmp_path, text=POLICY):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return str(path)


async def admin(running, path, method="GET", token=TOKEN, **options):
    """Ask the debug port; returns the code and the answer, read as JSON where it is."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as session:
        async with session.request(method, f"http://{running.debug}{path}", headers=headers, **options) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text


def key(name, domain="d"):
    return f"/admin/key?domain={domain}&descriptor={name}=x"


async def limit_of(running, name, method="GET", domain="d"):
    status, told = await admin(running, key(name, domain), method)
    assert status == 200, told
    return told["descriptors"][0]["limits"][0]


async def charge(running, name, hits=1, domain="d"):
    """Ask /json for one descriptor; returns the code."""
    entries = [{"key": name, "value": "x"}]
    body = {"domain": domain, "descriptors": [{"entries": entries}], "hitsAddend": hits}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://{running.http}/json", data=json.dumps(body)) as answer:
            return answer.status


async def text_of(address, path):
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as answer:
        return await answer.text()


async def test_without_a_token_there_is_no_admin_api(tmp_path):
    """Its paths are 404 for every method and caller, and the debug port does not list them."""
    async with service("--config", policy_file(tmp_path)) as running:
        for path in (key("gcra"), "/admin/policy", "/admin"):
            for method in ("GET", "DELETE", "POST"):
                assert (await admin(running, path, method))[0] == 404
        assert "/admin" not in await text_of(running.debug, "/")


async def test_it_is_on_the_debug_port_alone_and_asks_for_the_token(tmp_path):
    """The port that traffic may reach has none of it; without the token not even a method or a path is told."""
    async with service("--config", policy_file(tmp_path), env={"ADMIN_TOKEN": TOKEN}) as running:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{running.http}{key('gcra')}") as answer:
                assert answer.status == 404
        assert [(await admin(running, "/admin/policy", token=token))[0] for token in (None, TOKEN[1:])] == [401, 401]
        assert (await admin(running, key("gcra"), "PUT", token=None))[0] == 401
        assert (await admin(running, "/admin/policy"))[0] == 200
        assert "/admin/key: " in await text_of(running.debug, "/")
        assert (await admin(running, "/admin/", token=None))[0] == 401
        status, listed = await admin(running, "/admin/")
        assert (status, {"/admin/key", "/admin/policy"} <= listed.keys()) == (200, True)


async def test_a_proxy_has_it_too(tmp_path):
    """With a token the debug port is open without --with-service; without one it is not, unless DEBUG_PORT is set."""
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(url="http://localhost:1", limit=3, policy="error"))
    async with gateway("--config", str(file), env={"ADMIN_TOKEN": TOKEN}) as running:
        running.debug = (await running.logged("serving"))["debug"]
        assert (await admin(running, "/admin/policy"))[1]["limits"] == 1
        assert (await admin(running, "/admin/key?domain=d&descriptor=all=api"))[0] == 200
    async with gateway("--config", str(file), env={"DEBUG_PORT": None}) as running:
        assert "debug" not in await running.logged("serving")


@pytest.mark.skipif(not outer_address(), reason="this host has no address but its loopback")
async def test_callers_elsewhere_need_to_be_let_in(tmp_path):
    """A caller by another address is 403 with the right token, and ADMIN_REMOTE lets him in."""
    env, statuses = {"ADMIN_TOKEN": TOKEN, "DEBUG_HOST": "0.0.0.0"}, []
    for remote in ("false", "true"):
        async with service("--config", policy_file(tmp_path), env={**env, "ADMIN_REMOTE": remote}) as running:
            assert (await admin(running, "/admin/policy"))[0] == 200
            running.debug = f"{outer_address()}:{running.debug.rpartition(':')[2]}"
            statuses.append((await admin(running, "/admin/policy"))[0])
            assert (401 if remote == "true" else 403) == (await admin(running, "/admin/policy", token=None))[0]
    assert statuses == [403, 200]


async def test_looking_neither_charges_nor_counts(tmp_path):
    """A hundred looks leave what remains, every tally and every metric of limits as they were, new keys' too."""
    async with service("--config", policy_file(tmp_path), env={"ADMIN_TOKEN": TOKEN}) as running:
        assert await charge(running, "token_bucket", 4) == 200

        async def counted():
            metrics = (await text_of(running.http, "/metrics")).splitlines()
            return await text_of(running.debug, "/stats"), [line for line in metrics if line.startswith("ratelimit_")]

        before = await counted()
        for _ in range(100):
            assert (await limit_of(running, "token_bucket"))["remaining"] == 6
        await limit_of(running, "gcra")
        assert before == await counted()
        assert await charge(running, "token_bucket", 6) == 200
        assert await charge(running, "token_bucket", 1) == 429


@pytest.mark.redis
async def test_a_reset_with_redis_leaves_no_counter_and_no_denial(tmp_path):
    """For every algorithm: the denied caller passes at once, cache or no cache, and Redis holds nothing of it."""
    env = {"ADMIN_TOKEN": TOKEN, "LOCAL_CACHE_SIZE_IN_BYTES": "1m", "EXPIRATION_JITTER_MAX_SECONDS": "0"}
    with redis_server() as server:
        address = {"REDIS_URL": server.address, "REDIS_SOCKET_TYPE": server.socket_type}
        async with service("--config", policy_file(tmp_path), env=env | address) as running:
            with server.client() as redis:
                for name in ALGORITHMS:
                    assert [await charge(running, name, hits) for hits in (10, 1)] == [200, 429]
                    told = await limit_of(running, name)
                    assert (told["allowed"], told["remembered_denial"]["cost"]) == (False, 1)
                    assert redis.exists(told["counter"]) == 1
                    assert (await limit_of(running, name, "DELETE"))["remaining"] == 10
                    assert redis.dbsize() == 0
                    told = await limit_of(running, name)
                    assert (told["allowed"], told["used"], told["remembered_denial"]) == (True, 0, None)
                    assert await charge(running, name, 10) == 200
                    await limit_of(running, name, "DELETE")


@pytest.mark.redis
async def test_a_reset_with_redis_empties_what_no_cost_could_give_back(tmp_path):
    """A fixed window full of rejected costs, and two full windows of the counter that weighs both."""
    most = (1 << 32) - 1
    text = "domain: d\ndescriptors:\n" + "".join(
        f"  - {{key: {name}, rate_limit: {{unit: day, requests_per_unit: {most}, algorithm: {name}}}}}\n"
        for name in ("fixed_window", "sliding_window_counter")
    )
    now = time.time_ns() // 1000
    states = {"fixed_window": f"{1 << 52}", "sliding_window_counter": f"{now} {most} {most}"}
    with redis_server() as server:
        env = {"ADMIN_TOKEN": TOKEN, "REDIS_URL": server.address, "REDIS_SOCKET_TYPE": server.socket_type}
        async with service("--config", policy_file(tmp_path, text), env=env) as running:
            with server.client() as redis:
                for name, state in states.items():
                    redis.set((await limit_of(running, name))["counter"], state)
                    assert (await limit_of(running, name))["used"] >= most
                    assert most == (await limit_of(running, name, "DELETE"))["remaining"]
                    assert redis.dbsize() == 0


@pytest.mark.redis
async def test_a_redis_that_is_away_is_told(tmp_path):
    """503 with the kind, for looking and for a reset, and the limits that were asked about."""
    with redis_server() as server:
        env = {"ADMIN_TOKEN": TOKEN, "REDIS_URL": server.address, "REDIS_SOCKET_TYPE": server.socket_type}
        async with service("--config", policy_file(tmp_path), env=env) as running:
            server.kill()
            await running.logged("redis is unavailable")
            for method in ("GET", "DELETE"):
                status, told = await admin(running, key("gcra"), method)
                assert status == 503
                assert told["kind"] in {"disconnected", "breaker_open"}
                assert told["kind"] == told["descriptors"][0]["limits"][0]["failure"]["kind"]


async def test_a_rotated_token_counts_at_once_and_no_log_shows_one(tmp_path):
    """The file is swapped as Kubernetes swaps a secret; a wrong token is not logged either."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    async with service("--config", policy_file(tmp_path), env={"ADMIN_TOKEN_FILE": str(path)}) as running:
        assert (await admin(running, "/admin/policy"))[0] == 200
        (tmp_path / "new").write_text("another-token-0123456789")
        (tmp_path / "new").replace(path)
        assert (await admin(running, "/admin/policy"))[0] == 401
        assert (await admin(running, "/admin/policy", token="another-token-0123456789"))[0] == 200
        # The service is asked for a key named as its token, so that a line of its log would hold it.
        path.write_text(f"{TOKEN}\n")
        await admin(running, f"/admin/key?domain=d&descriptor=gcra={TOKEN}", "DELETE")
        line = await running.logged("counters reset")
        assert line["descriptors"] == ["gcra=***"]
        running.terminate()
        assert await running.ended() == 0
        assert TOKEN not in running.text
        assert "another-token" not in running.text


@pytest.mark.parametrize("text", ["", "too-short\n", None])
async def test_a_token_file_without_a_token_ends_the_start(tmp_path, text):
    """With the name of the file and what to put there, and not what is there."""
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
    async with service("--config", policy_file(tmp_path), env={"ADMIN_TOKEN_FILE": str(path)}, ready=False) as running:
        assert await running.ended() == 1
        line = await running.logged("cannot start")
        assert f"ADMIN_TOKEN_FILE: {path}: " in line["reason"]
        assert not text or text.strip() not in running.text


@pytest.mark.scenario("an invalid policy, at startup or on reload")
async def test_the_policy_is_told_through_its_changes(tmp_path):
    """A reload is a new generation of another version; a bad one is told beside the good one that stays."""
    path = Path(policy_file(tmp_path))
    async with service("--config", str(path), env={"ADMIN_TOKEN": TOKEN}) as running:
        _, first = await admin(running, "/admin/policy")
        assert (1, sha256(POLICY.encode()).hexdigest(), 1, 1, 6, str(path), []) == tuple(
            first[name] for name in ("generation", "version", "files", "domains", "limits", "source", "refused")
        )
        mark, text = len(running.log), f"{POLICY}# changed\n"
        path.write_text(text)
        await running.logged("policy loaded", after=mark)
        _, second = await admin(running, "/admin/policy")
        assert (2, sha256(text.encode()).hexdigest()) == (second["generation"], second["version"])
        assert second["age_seconds"] < 30
        path.write_text("domain: [")
        await running.logged("policy rejected")
        _, third = await admin(running, "/admin/policy")
        assert (2, second["version"]) == (third["generation"], third["version"])
        assert "policy.yaml" in third["refused"][0]
