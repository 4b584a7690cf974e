"""``concurrent`` through the proxy: a place is free again when its response has been sent, or its client has left."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from tests.gateway_process import FILE, gateway

pytestmark = pytest.mark.process


async def test_a_place_is_free_when_the_response_has_ended(tmp_path):
    """Of two, while two answers are in progress; after one has ended, and after the client of the other has left."""
    go, seen = asyncio.Semaphore(0), []

    async def answer(request):
        seen.append(request)
        await go.acquire()
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    file = tmp_path / "gateway.yaml"
    url = "http://{}:{}".format(*runner.addresses[0][:2])
    text = FILE.format(url=url, limit=2, policy="error")
    plain = "unit: hour, requests_per_unit: 2"
    assert plain in text
    file.write_text(text.replace(plain, "concurrent: 2"))
    async with (
        gateway("--config", str(file)) as running,
        aiohttp.ClientSession(f"http://{running.proxy}") as client,
    ):
        first, second = (asyncio.create_task(client.get("/api/x")) for _ in range(2))
        async with asyncio.timeout(30):
            while len(seen) < 2:
                await asyncio.sleep(0.01)
        async with client.get("/api/x") as denied:
            assert (denied.status, denied.headers["Retry-After"]) == (429, "1")
            assert denied.headers["X-RateLimit-Limit"] == "2"
        go.release()
        done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        assert [(await each).status for each in done] == [200]
        third = asyncio.create_task(client.get("/api/x"))
        async with asyncio.timeout(30):
            while len(seen) < 3:
                await asyncio.sleep(0.01)
        async with client.get("/api/x") as denied:
            assert denied.status == 429
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        async with asyncio.timeout(30):
            while len(seen) < 4:
                fourth = asyncio.create_task(client.get("/api/x"))
                await asyncio.wait([fourth], timeout=0.05)
                if not fourth.done():
                    break
                (await fourth).release()
        for _ in range(4):
            go.release()
        await asyncio.gather(first, second, fourth)
    await runner.cleanup()
