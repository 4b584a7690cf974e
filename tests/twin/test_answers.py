"""What a client and an upstream see besides the limits is alike."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.service import has_ipv6

from .files import TRUSTED, unit
from .twins import twins

pytestmark = [pytest.mark.envoy, pytest.mark.process, pytest.mark.slow]

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no ::1")

WAIT = 0.4
"""Seconds an upstream has to begin; a response that began may go on for longer."""


@asynccontextmanager
async def upstream():
    """Answers with the headers it got; /slow never begins, and /stream takes longer than the time to begin."""

    ended = asyncio.Event()

    async def answer(request):
        if request.path == "/slow":
            await ended.wait()
        if request.path != "/stream":
            return web.json_response(dict(request.headers), headers={"Server": "app"})
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(4):
            await response.write(b"data: x\n\n")
            await asyncio.sleep(WAIT / 2)
        return response

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2])
    finally:
        ended.set()
        await runner.cleanup()


@pytest.fixture
async def clients(tmp_path, request):
    """A client of each twin that is trusted, and one that is not, over IPv4; the parameter is ``listen``."""
    listen = getattr(request, "param", "127.0.0.1:0")
    limit = {"unit": unit(), "requests_per_unit": 1, "algorithm": "fixed_window"}
    policy = {"domain": "d", "descriptors": [{"key": "generic_key", "value": "once", "rate_limit": limit}]}
    async with upstream() as app:
        gateway = {
            "listen": listen,
            "upstreams": {"app": {"url": f"http://{app}", "response_timeout": f"{WAIT}s"}},
            "trusted_proxies": TRUSTED,
            "routes": [
                {
                    "match": {"path": "/once"},
                    "rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "once"}}]}],
                },
                {},
            ],
            "policies": "policy.yaml",
        }
        for name, content in (("policy.yaml", policy), ("gateway.yaml", gateway)):
            (tmp_path / name).write_text(json.dumps(content))
        envs = [{"LISTEN_ADDR": listen}, {}]
        async with twins(tmp_path / "gateway.yaml", tmp_path / "policy.yaml", tmp_path, envs) as found:
            urls = [f"http://127.0.0.1:{url.rpartition(':')[2]}" for url in found]
            made = [
                [aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(local_addr=(address, 0))) for url in urls]
                for address in ("127.0.0.1", "127.0.0.2")
            ]
            yield made
            for client in (*made[0], *made[1]):
                await client.close()


async def test_a_limited_request_has_the_same_answer(clients):
    """429 as JSON with the request's id, Retry-After, and nothing of Envoy's own."""
    shown = []
    for client in clients[1]:
        await client.get("/once")
        async with client.get("/once", headers={"X-Request-Id": "mine"}) as answer:
            assert (answer.status, answer.content_type) == (429, "application/json")
            assert answer.headers["X-Request-Id"] == "mine"
            assert not [name for name in answer.headers if name.lower().startswith("x-envoy")]
            assert int(answer.headers["Retry-After"]) == int(answer.headers["X-RateLimit-Reset"])
            shown.append(await answer.json())
    wanted = {"error": "rate_limited", "message": "rate limit exceeded", "request_id": "mine"}
    assert shown == [wanted, wanted]


SAID = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "said.example",
    "X-Forwarded-Port": "444",
    "Forwarded": "for=192.0.2.1",
    "X-Envoy-Retry-On": "5xx",
    "X-Request-Id": "mine",
}


@pytest.mark.parametrize("clients", ["127.0.0.1:0", pytest.param(":0", marks=needs_ipv6)], indirect=True)
async def test_what_is_said_of_the_way_is_believed_of_trusted_peers_alone(clients):
    """An upstream gets what a trusted peer says, and of anyone else what was seen.

    A client over IPv4 is IPv4 where the port is that of both families, too.
    """
    seen = {"x-forwarded-proto": "http", "x-forwarded-host": "host.example"}
    believed = {name.lower(): value for name, value in SAID.items()}
    for peers, wanted in zip(clients, (believed, seen), strict=True):
        for client in peers:
            async with client.get("/", headers={**SAID, "Host": "host.example"}) as answer:
                got = {name.lower(): value for name, value in (await answer.json()).items()}
                assert (answer.headers["Server"], answer.headers["X-Request-Id"]) == ("app", "mine")
            for name in ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"):
                assert got.get(name) == wanted.get(name)
            first, *others = got["x-forwarded-for"].replace(" ", "").split(",")
            assert (first, len(others)) == (("192.0.2.1", 1) if wanted is believed else ("127.0.0.2", 0))
            assert got["via"] == "1.1 ratelimitd"
            assert ("192.0.2.1" in got.get("forwarded", "")) == (wanted is believed)


async def test_envoy_obeys_nobody(clients):
    """Headers that would have Envoy retry do not reach it, not even from a trusted peer."""
    for _, envoy in clients:
        async with envoy.get("/", headers=SAID) as answer:
            assert not [name for name in await answer.json() if name.lower().startswith("x-envoy")]


async def test_only_the_beginning_of_a_response_is_waited_for(clients):
    """An upstream that does not begin in time is 504; one that did may take longer."""
    for client in clients[1]:
        async with client.get("/slow") as answer:
            assert answer.status == 504
        async with client.get("/stream") as answer:
            assert answer.status == 200
            assert await answer.read() == b"data: x\n\n" * 4
