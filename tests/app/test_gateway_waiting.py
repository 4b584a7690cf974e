"""Requests that wait for a limit, together with what else a gateway does: CORS, bodies, shares, the end of clients."""

import asyncio
import json

import pytest

from tests.app.proxying import proxying
from tests.app.test_gateway_cors import CORS, PAGE, allowed, header
from tests.http1.rig import OK, ScriptedUpstream, get, post, until


@pytest.fixture
async def busy(tmp_path):
    """Makes gateways whose one place is taken by a request at the upstream; yields them, and that connection."""
    upstream = await ScriptedUpstream().start()
    stacks = []

    async def make(length=5, **file):
        limit = {"concurrent": 1, "queue": {"length": length, "timeout": "60s"}}
        own = {
            "upstreams": {"app": {"url": f"http://127.0.0.1:{upstream.port}"}},
            "routes": [{"cors": CORS, "rate_limits": [{"actions": [{"remote_address": {}}]}]}],
            "policies": {"domain": "d", "descriptors": [{"key": "remote_address", "rate_limit": limit}]},
            **file,
        }
        stack = proxying(tmp_path, **own)
        stacks.append(stack)
        front = await stack.__aenter__()
        await (await front.client()).send(get(b"/first"))
        end = await upstream.accept()
        await end.until()
        return front, end

    yield make
    for stack in stacks:
        await stack.__aexit__(None, None, None)
    await upstream.stop()


async def waiter(front, request):
    """A client whose request waits."""
    before, client = len(front.queueing.lines), await front.client()
    await client.send(request)
    await until(lambda: len(front.queueing.lines) == before + 1)
    return client


def detail(body):
    return json.loads(body).get("detail")


async def test_a_script_can_read_how_its_wait_ended(busy):
    """503 at the end of the process, and 429 of a full line, carry CORS and Retry-After; the 503 says why."""
    front, _ = await busy(length=1)
    client = await waiter(front, get(b"/", PAGE))
    status, full = await front.ask(get(b"/", PAGE))
    front.queueing.close()
    head, body = await client.answer()
    for found, answer in ((429, full), (503, head)):
        assert int(answer.split()[1]) == found
        assert allowed(answer) == "https://app.example.org"
        assert int(header(answer, b"Retry-After")) >= 1
    assert status == 429
    assert detail(body) == "the process stopped while the request waited for a limit"
    assert front.handled[-1].cut == ""


async def test_the_wait_is_not_the_time_of_a_body(busy):
    """Nothing of it is read meanwhile, so no timeout of a body runs; it is read when its turn comes."""
    front, end = await busy(limits={"body_timeout": "1ms"})
    client = await waiter(front, post(b"body"))
    begun = asyncio.get_running_loop().time()
    await until(lambda: asyncio.get_running_loop().time() > begun + 0.05)
    await end.send(OK)
    assert (await end.until()).startswith(b"POST ")
    assert await end.exactly(4) == b"body"
    await end.send(OK)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_leaves_while_it_waits_is_not_cut(busy):
    """It gives its place in the line up, also behind a body of which only one read is held."""
    front, _ = await busy()
    client = await waiter(front, post(b"x" * 60_000))
    await until(lambda: client.writer.transport.get_write_buffer_size() == 0)
    client.close()
    await until(lambda: not len(front.queueing.lines))
    await until(lambda: front.handled)
    (record,) = front.handled
    assert (record.status, record.cut, record.error) == (0, "", "client closed the connection")
    assert record.queued > 0
