"""``ratelimitd check`` against a running service, and the reason in the responses to others."""

import asyncio
import json
import os
import signal
import sys
from types import SimpleNamespace

import aiohttp
import pytest

from testkit.redis_server import free_port
from tests.service import service
from tests.transport.servers import Certificates

pytestmark = pytest.mark.process

POLICY = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: deny, on_store_failure: deny, rate_limit: {unit: day, requests_per_unit: 9}}
  - {key: bucket, rate_limit: {unit: minute, requests_per_unit: 60, burst: 120, algorithm: token_bucket}}
  - {key: nothing, rate_limit: {unit: minute, requests_per_unit: 0, algorithm: gcra}}
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


async def check_at(address, *words):
    """As ``check``, of any address and without a domain."""
    return await check(SimpleNamespace(grpc=address), *words)


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


async def test_a_cost_that_can_never_pass_is_told_so(tmp_path):
    """Above the burst, above the limit, and on a limit of 0: no time is named after which it would pass."""
    async with service("--config", policy_file(tmp_path)) as running:
        code, lines = await check(running, "bucket=x", "--hits", "200")
        assert (code, lines[0]) == (
            1,
            "OVER_LIMIT bucket=x: over 60 per minute, this cost can never pass: it exceeds the burst of 120",
        )
        assert "it exceeds the limit of 1" in (await check(running, "user=x", "--hits", "2"))[1][0]
        assert "a limit of 0 lets nothing pass" in (await check(running, "nothing=x"))[1][0]
        assert "try again in" in (await check(running, "bucket=y", "bucket=y", "--hits", "100"))[1][1]


async def test_an_unknown_domain_is_an_error(tmp_path):
    """It is not "no limit applies" with exit code 0; a known domain without a limit still is."""
    async with service("--config", policy_file(tmp_path)) as running:
        code, (line,) = await check(running, "user=x", "-d", "shpo")
        assert (code, line.startswith("ratelimitd: the service has no domain 'shpo'")) == (2, True)
        assert (await check(running, "other=x"))[1] == ["OK         other=x: no limit applies", "overall: OK"]


async def test_a_port_of_another_protocol_is_told(tmp_path):
    """HTTP/1 for gRPC, TLS asked in plain text, and plain text asked by TLS: what it is, and what to write."""
    certificates = Certificates(tmp_path)
    tls = {
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": certificates.cert,
        "GRPC_SERVER_TLS_KEY": certificates.key,
    }
    async with (
        service("--config", policy_file(tmp_path)) as plain,
        service("--config", policy_file(tmp_path), env=tls) as secure,
    ):
        assert "speaks HTTP/1: gRPC is at GRPC_PORT, 8081 by default" in (await check_at(plain.http, "user=x"))[1][-1]
        assert "speaks HTTP/1 without TLS" in (await check_at(plain.http, "user=x", "--tls", "--timeout", "3s"))[1][-1]
        assert "speaks TLS: add --tls" in (await check_at(secure.grpc, "user=x"))[1][-1]
        _, lines = await check_at(plain.grpc, "user=x", "--tls", "--timeout", "3s")
        assert (len(lines), "speaks gRPC without TLS: leave out --tls" in lines[0]) == (1, True), lines


async def test_mutual_tls(tmp_path):
    """A certificate of the CA is served; without it, or without its CA, the handshake is named."""
    certificates = Certificates(tmp_path)
    key, cert = certificates.client("ops")
    (tmp_path / "client.pem").write_bytes(cert)
    (tmp_path / "client.key").write_bytes(key)
    env = {
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": certificates.cert,
        "GRPC_SERVER_TLS_KEY": certificates.key,
        "GRPC_CLIENT_TLS_CACERT": certificates.client_ca,
    }
    own = ("--cert", str(tmp_path / "client.pem"), "--key", str(tmp_path / "client.key"))
    async with service("--config", policy_file(tmp_path), env=env) as running:
        address = f"localhost:{running.grpc.rpartition(':')[2]}"
        assert (await check_at(address, "user=y", "--cacert", certificates.client_ca, *own))[0] == 0
        ca = ("--cacert", certificates.client_ca)
        assert (await check_at(address, "user=x", *ca, *own, "--server-name", "localhost"))[0] == 0
        assert (await check_at(address, "user=x", *ca, *own, "--server-name", "other.mesh"))[0] == 2
        code, lines = await check_at(address, "user=x", "--tls", *own)
        assert (code, "the TLS handshake" in lines[-1]) == (2, True)
        code, lines = await check_at(address, "user=x", "--cacert", certificates.client_ca)
        assert code == 2
        assert (await check_at(address, "user=x", *own[:2]))[0] == 2


async def test_watch_repeats_and_costs_nothing(tmp_path):
    """A line each interval until Ctrl-C, by default a peek; an error is a line too, and the watch goes on."""
    async with service("--config", policy_file(tmp_path)) as running:
        words = ("check", "-d", "d", "--address", running.grpc, "user=x", "--watch", "--interval", "10ms")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ratelimitd", *words, stdout=asyncio.subprocess.PIPE
        )
        seen = [(await process.stdout.readline()).decode()[9:] for _ in range(3)]
        assert [line.partition(", reset")[0] for line in seen] == ["OK         user=x: 1 left of 1 per day"] * 3
        os.kill(running.process.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while "error" not in (await process.stdout.readline()).decode():
                pass
            process.send_signal(signal.SIGINT)
            await process.communicate()
        assert process.returncode == 0


async def test_a_running_service_explains_with_its_token(tmp_path):
    """Its active policy is walked and nothing is charged; a wrong token or no admin API is an error that says so."""
    token = {"ADMIN_TOKEN": "a-token-of-the-tests-0123456789"}
    file = policy_file(tmp_path)
    async with service("--config", file, env=token) as running:
        asked = ("--explain", "--admin", running.debug, "user=x", "usr=x")
        code, lines = await check(running, *asked, env=token)
        assert (code, lines[2]) == (
            1,
            f"  d.user has 1 per day ({file}:4): unit=DAY requests_per_unit=1, shadow_mode: false, quota_mode: false",
        )
        assert lines[-3] == "  usr=x matches nothing below d"
        assert lines[-2].startswith("  nearest there: user, ")
        assert (await check(running, "user=x"))[0] == 0
        code, (line,) = await check(running, *asked, env={"ADMIN_TOKEN": "another-token-than-that-one"})
        assert (code, "answered 401" in line) == (2, True)
    async with service("--config", policy_file(tmp_path)) as running:
        code, (line,) = await check(running, "--explain", "--admin", running.debug, "user=x", env=token)
        assert (code, "has no admin API" in line) == (2, True)
