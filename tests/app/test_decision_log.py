"""The decision log of a running process: by the settings, and over the admin API."""

import json

import aiohttp
import pytest

from tests.gateway_process import gateway
from tests.service import service

pytestmark = pytest.mark.process

TOKEN = "a-token-of-the-tests-0123456789"
POLICY = "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 100}}]\n"
DECISIONS = "/admin/decisions"


def policy_file(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


async def asked(running, *users):
    async with aiohttp.ClientSession(f"http://{running.http}") as client:
        for user in users:
            body = {"domain": "d", "descriptors": [{"entries": [{"key": "user", "value": user}]}]}
            async with client.post("/json", data=json.dumps(body)) as answer:
                assert answer.status == 200


def logged(running):
    """The users of the decisions in the log."""
    lines = [line["descriptors"] for line in running.log if line.get("@message") == "OK"]
    return [line.partition(":")[0].removeprefix("user=") for line in lines]


async def test_the_admin_api_switches_it_on_and_off(tmp_path):
    """Only the selected requests are logged, and only in between; the switch itself is logged with its caller."""
    async with service("--config", policy_file(tmp_path), env={"ADMIN_TOKEN": TOKEN}) as running:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(f"http://{running.debug}", headers=headers) as admin:
            await asked(running, "alice")
            async with admin.post(f"{DECISIONS}?entry=user=alice") as answer:
                assert (answer.status, (await answer.json())["on"]) == (200, True)
            await asked(running, "bob", "alice")
            async with admin.get(DECISIONS) as answer:
                assert (await answer.json())["logged"] == 1
            async with admin.delete(DECISIONS) as answer:
                assert (await answer.json())["on"] is False
            await asked(running, "alice")
        assert (await running.logged("decision log begins"))["peer"] == "127.0.0.1"
        assert (await running.logged("decision log ended"))["logged"] == 1
        assert logged(running) == ["alice"]


async def test_it_asks_for_the_token(tmp_path):
    """Without the token nothing is shown and nothing is switched."""
    async with service("--config", policy_file(tmp_path), env={"ADMIN_TOKEN": TOKEN}) as running:
        async with aiohttp.ClientSession(f"http://{running.debug}") as stranger:
            for method in ("GET", "POST", "DELETE"):
                async with stranger.request(method, DECISIONS) as answer:
                    assert answer.status == 401
        await asked(running, "alice")
        running.terminate()
        await running.ended()
    assert logged(running) == []


@pytest.mark.parametrize(
    ("env", "all_of_them"),
    [
        ({}, False),
        ({"LOG_DECISIONS": "true"}, True),
        ({"LOG_LEVEL": "debug"}, None),
    ],
)
async def test_the_settings_switch_it_on(tmp_path, env, all_of_them):
    """LOG_DECISIONS logs every decision, LOG_LEVEL=debug a bounded number of them per second, and else none."""
    async with service("--config", policy_file(tmp_path), env=env) as running:
        await asked(running, *(str(n) for n in range(40)))
        running.terminate()
        await running.ended()
    found = logged(running)
    if all_of_them is None:
        assert found[:10] == [str(n) for n in range(10)]
    else:
        assert len(found) == (40 if all_of_them else 0)


async def test_the_proxy_logs_its_decisions_too():
    """LOG_DECISIONS applies to whatever asks the engine."""
    async with gateway(env={"LOG_DECISIONS": "true", "DOWNSTREAM_URL": "http://127.0.0.1:1"}) as running:
        async with aiohttp.ClientSession(f"http://{running.proxy}") as client, client.get("/x"):
            pass
        line = await running.logged("OK")
    assert "gateway.remote_address: " in line["descriptors"]
