"""The live view of running processes, as curl and a page see it: serve and proxy, with and without the token."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.gateway_process import FILE, gateway, upstream
from tests.service import service

pytestmark = pytest.mark.process

TOKEN = "a-token-of-the-tests-0123456789"
WELL = {"Authorization": f"Bearer {TOKEN}"}
POLICY = """domain: shop
descriptors:
  - key: user
    rate_limit: {unit: day, requests_per_unit: 2, name: users}
  - key: method
    value: GET
    rate_limit: {unit: day, requests_per_unit: 100}
"""
PATIENCE = 60.0


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


async def ask(running, **entries):
    body = {"domain": "shop", "descriptors": [{"entries": [{"key": k, "value": v} for k, v in entries.items()]}]}
    async with aiohttp.ClientSession() as client:
        async with client.post(f"http://{running.http}/json", data=json.dumps(body)) as answer:
            return answer.status


async def get(running, path, **headers):
    """The status and the document of a page."""
    async with aiohttp.ClientSession() as client:
        async with client.get(f"http://{running.debug}{path}", headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)


async def eventually(running, path, holds, **headers):
    """The document of a page once the model has seen enough."""
    async with asyncio.timeout(PATIENCE):
        while not holds(document := (await get(running, path, **headers))[1]):
            await asyncio.sleep(0.05)
        return document


class Events:
    """The events of a stream, as they come."""

    def __init__(self, answer):
        self._answer = answer

    async def named(self, name):
        async with asyncio.timeout(PATIENCE):
            while (found := await self.next())[0] != name:
                pass
            return found[1]

    async def next(self):
        lines: list[str] = []
        while (line := (await self._answer.content.readline()).decode()) not in {"\n", ""}:
            lines.append(line)
        if not lines or lines[0].startswith(":"):
            return None, None
        fields = dict(line.rstrip("\n").split(": ", 1) for line in lines)
        return fields["event"], json.loads(fields["data"])


@asynccontextmanager
async def stream(running, path, **headers):
    async with aiohttp.ClientSession(read_bufsize=1 << 20) as client:
        async with client.get(f"http://{running.debug}{path}", headers=headers, timeout=None) as answer:
            assert answer.status == 200, await answer.text()
            yield Events(answer)


async def test_a_denial_is_seen_with_its_limit_and_place_at_once(policy):
    """Hashed without the token, and shown with it; with the limit, its line in the file, and what is left."""
    async with service("--config", str(policy), env={"ADMIN_TOKEN": TOKEN}) as running:
        assert [await ask(running, user="alice") for _ in range(3)] == [200, 200, 429]
        (hashed,) = (await get(running, "/live/denials"))[1]["denials"]
        (shown,) = (await get(running, "/live/denials", **WELL))[1]["denials"]
        assert (shown["key"], shown["descriptor"], shown["limit"]) == ("user=alice", "user=alice", "shop.user")
        assert hashed["key"].startswith("user=#")
        assert (len(hashed["key"]), hashed["descriptor"]) == (len("user=#0123456789"), None)
        status, found = await get(running, f"/live/limit?id={shown['id']}", **WELL)
        assert status == 200
        assert found["limit"]["where"] == {"file": str(policy), "line": 4}
        assert [(key["key"], key["minute"], key["remaining"]) for key in found["keys"]] == [
            ("user=alice", {"hits": 3, "denied": 1}, 0)
        ]
        text = json.dumps((await get(running, f"/live/limit?id={shown['id']}"))[1])
        assert "alice" not in text


async def test_totals_and_rates_follow(policy):
    """The overview, the hour, and the rows agree."""
    async with service("--config", str(policy)) as running:
        for user in ("alice", "bob", "alice", "alice"):
            await ask(running, user=user)
        overview = await eventually(running, "/live/overview", lambda found: sum(found["totals"].values()) == 4)
        assert overview["totals"] == {"allowed": 3, "denied": 1, "shadowed": 0, "failed": 0}
        assert (overview["authorized"], overview["keys"]) == (False, "hashed")
        assert overview["store"] == overview["store"] | {"kind": "memory", "state": "ok", "breaker": None, "keys": 2}
        assert overview["policy"]["limits"] == 2
        assert overview["health"] == {"healthy": True, "ready": True, "failing": [], "notes": []}
        assert overview["example"] == f"ratelimitd check --address {running.grpc} -d shop user=test"
        rows = (await get(running, "/live/limits?sort=name&search=shop."))[1]
        assert [row["name"] for row in rows["limits"]] == ["shop.method_GET", "shop.user"]
        assert rows["limits"][1]["totals"] == overview["totals"]
        history = (await get(running, "/live/history"))[1]
        assert [len(history[name]) for name in ("allowed", "denied", "shadowed", "failed")] == [360] * 4


async def test_a_refused_policy_is_shown_with_its_line(policy):
    """The old one stays."""
    async with service("--config", str(policy)) as running:
        policy.write_text(POLICY.replace("unit: day, requests_per_unit: 2", "unit: dya, requests_per_unit: 2"))
        found = await eventually(running, "/live/overview", lambda found: found["policy"]["refused"])
        assert "'dya'" in found["policy"]["refused"][0]
        assert "(line 4)" in found["policy"]["refused"][0]
        assert found["policy"]["generation"] == 1


async def test_a_store_that_fails_is_shown(policy):
    """With what is wrong; the password of its address is not shown."""
    env = {"REDIS_URL": "redis://:secret-of-the-tests@127.0.0.1:1"}
    async with service("--config", str(policy), env=env) as running:
        store = (await get(running, "/live/overview"))[1]["store"]
        assert (store["kind"], store["state"], store["breaker"]) == ("redis", "failing", "closed")
        assert "127.0.0.1:1" in store["where"]
        assert store["text"]
        assert "secret-of-the-tests" not in json.dumps(store)


async def test_events_and_decisions_come_as_they_happen(policy):
    """Beside a decision log that is on; the last event tells that the process ends."""
    env = {"ADMIN_TOKEN": TOKEN, "LOG_DECISIONS": "true"}
    async with service("--config", str(policy), env=env) as running:
        async with (
            stream(running, "/live/events", **WELL) as events,
            stream(running, "/live/decisions?entry=user=alice&denied=1", **WELL) as shown,
            stream(running, "/live/decisions?entry=user") as hashed,
        ):
            assert (await events.named("overview"))["keys"] == "shown"
            await shown.next()
            await hashed.next()
            assert [await ask(running, user="alice") for _ in range(3)] == [200, 200, 429]
            denied = await shown.named("decision")
            assert (denied["code"], denied["limit"]) == ("OVER_LIMIT", "shop.user")
            assert denied["descriptors"][0]["descriptor"] == "user=alice"
            codes = [await hashed.named("decision") for _ in range(3)]
            assert [each["code"] for each in codes] == ["OK", "OK", "OVER_LIMIT"]
            assert "alice" not in json.dumps(codes)
            async with asyncio.timeout(PATIENCE):
                while not (denials := (await events.named("denials"))["denials"]):
                    pass
            assert denials[0]["key"] == "user=alice"
            running.terminate()
            for each in (events, shown, hashed):
                assert await each.named("shutdown") == {"version": 1}
        assert await running.ended() == 0
        assert [line["@message"] for line in running.log].count("OVER_LIMIT") == 1


async def test_a_proxy_shows_its_requests():
    """With its own address as the example; the debug port is open since DEBUG_PORT is set."""
    async with upstream() as (url, _):
        env = {"DEBUG_PORT": "0", "DOWNSTREAM_URL": url}
        async with gateway(env=env) as running:
            running.debug = (await running.logged("serving"))["debug"]
            async with aiohttp.ClientSession() as client:
                for _ in range(12):
                    async with client.get(f"http://{running.proxy}/api/hello"):
                        pass
            denials = (await get(running, "/live/denials"))[1]["denials"]
            assert {each["limit"] for each in denials} == {"gateway.remote_address"}
            overview = await eventually(running, "/live/overview", lambda found: found["totals"]["denied"])
            port = running.proxy.rpartition(":")[2]
            assert overview["example"] == f"curl -i http://localhost:{port}/"


async def test_a_proxy_without_a_debug_port_watches_nothing(tmp_path):
    """Neither with DEBUG_HOST alone, which the image sets."""
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(url="http://localhost:1", limit=3, policy="error"))
    async with gateway("--config", str(file), env={"DEBUG_PORT": None, "DEBUG_HOST": "127.0.0.1"}) as running:
        assert "debug" not in await running.logged("serving")


async def test_it_can_be_turned_off(policy):
    """404 with what to set; upstream's pages and the list stay."""
    async with service("--config", str(policy), env={"LIVE_MAX_BYTES": "0"}) as running:
        status, found = await get(running, "/live/overview")
        assert (status, "set LIVE_MAX_BYTES" in found["error"]) == (404, True)
        async with aiohttp.ClientSession() as client, client.get(f"http://{running.debug}/rlconfig") as answer:
            assert (await answer.text()).startswith("shop.method_GET: unit=DAY")


async def test_a_wrong_token_is_counted_with_those_of_the_admin_api(policy):
    """One bound for both: whoever guesses has ten tries in all."""
    wrong = {"Authorization": "Bearer wrong"}
    async with service("--config", str(policy), env={"ADMIN_TOKEN": TOKEN}) as running:
        paths = ["/live/overview", "/admin/policy"] * 6
        statuses = [(await get(running, path, **wrong))[0] for path in paths]
        assert statuses == [401] * 10 + [429] * 2
        assert (await get(running, "/live/overview", **WELL))[0] == 200
        assert (await get(running, "/live/overview"))[0] == 200


async def test_a_replay_with_redis_says_what_is_missing(policy):
    """Other replicas fill the same counters, so what this one saw alone would pass for too little."""
    for env, said in (({}, False), ({"REDIS_URL": "redis://127.0.0.1:1"}, True)):
        async with service("--config", str(policy), env=env) as running:
            (row, *_) = (await get(running, "/live/limits?search=user"))[1]["limits"]
            await ask(running, user="alice")
            status, replayed = await get(running, f"/live/what-if?id={row['id']}&requests_per_unit=9")
            assert (status, "other replicas" in replayed["note"]) == (200, said)
