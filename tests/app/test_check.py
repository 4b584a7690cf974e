"""``ratelimitd check`` against a running service, and the reason in the responses to others."""

import asyncio
import json
import os
import sys

import aiohttp
import pytest

from testkit.redis_server import free_port
from tests.service import service

pytestmark = pytest.mark.process

POLICY = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: deny, on_store_failure: deny, rate_limit: {unit: day, requests_per_unit: 9}}
  - {key: error, rate_limit: {unit: day, requests_per_unit: 9}}
"""


async def check(running, *words, env=None):
    """Run the command; returns its exit code and the lines of its output, errors included."""
    command = (sys.executable, "-m", "ratelimitd", "check", "-d", "d", "--address", running.grpc, *words)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, **(env or {})}
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().splitlines()


def policy_file(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


@pytest.mark.parametrize("transport", ["auto", "grpcio"])
async def test_a_denial_has_its_reason_from_a_service_without_settings(tmp_path, transport):
    """Over either transport; an allowed request has none."""
    async with service("--config", policy_file(tmp_path), env={"TRANSPORT": transport}) as running:
        assert (await check(running, "user=x"))[1][1:] == ["overall: OK"]
        assert (await check(running, "user=x"))[1][1:] == ["overall: OVER_LIMIT", "reason: over the limit d.user"]


async def test_a_denial_without_a_counter_is_not_called_over_the_limit(tmp_path):
    """While the store is away the reason is the store; a failed request says which policy failed it."""
    env = {"REDIS_URL": f"127.0.0.1:{free_port()}"}
    async with service("--config", policy_file(tmp_path), env=env) as running:
        store = "store away (disconnected)"
        assert await check(running, "deny=x") == (
            1,
            [
                "OVER_LIMIT deny=x: denied without its counter, try again in 1 s",
                "overall: OVER_LIMIT",
                f"reason: {store}, denied by on_store_failure: deny (limit d.deny)",
            ],
        )
        code, (line,) = await check(running, "error=x")
        assert (code, f"{store}, failed by on_store_failure: error (limit d.error)" in line) == (2, True)


@pytest.mark.parametrize(("setting", "found"), [("false", None), ("true", "d.user")])
async def test_the_reason_is_in_the_dynamic_metadata_by_setting(tmp_path, setting, found):
    """RESPONSE_DYNAMIC_METADATA_REASON returns it to every caller, not only to ``check``."""
    env = {"RESPONSE_DYNAMIC_METADATA_REASON": setting}
    body = {"domain": "d", "descriptors": [{"entries": [{"key": "user", "value": "x"}]}]}
    async with service("--config", policy_file(tmp_path), env=env) as running:
        async with aiohttp.ClientSession(f"http://{running.http}") as client:
            for _ in range(2):
                async with client.post("/json", data=json.dumps(body)) as answer:
                    told = await answer.json()
    assert told.get("dynamicMetadata", {}).get("reason", {}).get("limit") == found


async def test_a_running_service_explains_with_its_token(tmp_path):
    """Its active policy is walked and nothing is charged; a wrong token or no admin API is an error that says so."""
    token = {"ADMIN_TOKEN": "a-token-of-the-tests-0123456789"}
    async with service("--config", policy_file(tmp_path), env=token) as running:
        asked = ("--explain", "--admin", running.debug, "user=x", "usr=x")
        code, lines = await check(running, *asked, env=token)
        assert (code, lines[2]) == (
            1,
            "  limit d.user: unit=DAY requests_per_unit=1, shadow_mode: false, quota_mode: false",
        )
        assert lines[-3] == "  usr=x matches nothing below d"
        assert lines[-2].startswith("  nearest there: user, ")
        assert (await check(running, "user=x"))[0] == 0
        code, (line,) = await check(running, *asked, env={"ADMIN_TOKEN": "another-token-than-that-one"})
        assert (code, "answered 401" in line) == (2, True)
    async with service("--config", policy_file(tmp_path)) as running:
        code, (line,) = await check(running, "--explain", "--admin", running.debug, "user=x", env=token)
        assert (code, "has no admin API" in line) == (2, True)
