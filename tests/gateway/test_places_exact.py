"""``concurrent`` through the proxy is exact: a place is held as long as its request is in progress, and no longer."""

import asyncio

import pytest

from tests.http1.rig import PATIENCE

from .between import between

pytestmark = pytest.mark.process

STORES = ("memory", pytest.param("redis", marks=pytest.mark.redis))
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
UPGRADE = b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


async def client_leaves_before_the_answer(both):
    end = await both.ask()
    await both.arrived()
    yield
    end.close()


async def client_resets_amid_the_answer(both):
    end = await both.ask()
    at, _ = await both.arrived()
    await at.send(HALF)
    await end.until()
    yield
    end.reset()


async def client_resets_amid_its_body(both):
    end = await both.ask(method="POST", more=b"Content-Length: 9\r\n\r\nhalf")
    await both.arrived()
    yield
    end.reset()


async def body_is_malformed(both):
    end = await both.ask(method="POST", more=b"Transfer-Encoding: chunked\r\n\r\n")
    await both.arrived()
    yield
    await end.send(b"no chunk\r\n")
    await end.answer()


async def upstream_is_lost_before_its_answer(both):
    end = await both.ask()
    at, _ = await both.arrived()
    yield
    at.close()
    assert await both.status(end) == 502


async def upstream_is_lost_amid_its_answer(both):
    end = await both.ask()
    at, _ = await both.arrived()
    await at.send(HALF)
    await end.until()
    yield
    at.close()
    await end.rest()


async def upstream_answers_what_is_no_http(both):
    end = await both.ask()
    at, _ = await both.arrived()
    yield
    await at.send(b"no answer\r\n\r\n")
    assert await both.status(end) == 502


async def answer_without_a_length_ends(both):
    end = await both.ask()
    at, _ = await both.arrived()
    await at.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    await end.until()
    yield
    at.close()
    await end.until(b"0\r\n\r\n")


async def tunnel(both):
    end = await both.ask(more=UPGRADE)
    at, _ = await both.arrived()
    await at.send(SWITCHED)
    await end.until()
    await end.send(b"ping")
    assert await at.exactly(4) == b"ping"
    return end, at


async def client_ends_a_tunnel(both):
    end, at = await tunnel(both)
    yield
    end.close()
    await at.rest()
    at.close()


async def upstream_ends_a_tunnel(both):
    end, at = await tunnel(both)
    yield
    at.close()
    await end.rest()
    end.close()


async def another_limit_denies(both):
    end = await both.ask(none="x")
    assert await both.status(end) == 429
    end = await both.ask()
    await both.arrived()
    yield
    end.close()


ENDS = (
    client_leaves_before_the_answer,
    client_resets_amid_the_answer,
    client_resets_amid_its_body,
    body_is_malformed,
    upstream_is_lost_before_its_answer,
    upstream_is_lost_amid_its_answer,
    upstream_answers_what_is_no_http,
    answer_without_a_length_ends,
    client_ends_a_tunnel,
    upstream_ends_a_tunnel,
    another_limit_denies,
)


@pytest.mark.parametrize("store", STORES)
async def test_a_place_is_held_until_any_end_of_a_request_and_no_longer(tmp_path, store):
    """Of one place: none is free while a request is in progress, and one is when it has ended, however it did."""
    limits = ("concurrent: 1", "unit: hour, requests_per_unit: 0")
    async with between(tmp_path, *limits, store=store, actions=("one", "none")) as both:
        for end in ENDS:
            in_progress = end(both)
            await anext(in_progress)
            assert not await both.served(), end.__name__
            await anext(in_progress, None)
            async with asyncio.timeout(PATIENCE):
                while not await both.served():
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize("store", STORES)
async def test_a_place_outlives_its_ttl_while_the_request_is_in_progress(tmp_path, store):
    """The proxy knows that it is: the hold is renewed. A tunnel or a stream may take hours."""
    async with between(tmp_path, "concurrent: 1, ttl: 1s", store=store) as both:
        end = await both.ask()
        at, _ = await both.arrived()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() < begun + 3:
            assert not await both.served()
            await asyncio.sleep(0.1)
        await both.answered(at)
        assert await both.status(end) == 200
        assert await both.served()


async def test_a_place_is_held_until_the_client_has_read_the_answer(tmp_path):
    """The upstream is done with it, and the client is slow: what it did not take yet is in progress."""
    async with between(tmp_path, "concurrent: 1") as both:
        end = await both.ask()
        end.writer.transport.pause_reading()
        at, _ = await both.arrived()
        body = bytes(32 << 20)
        await at.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        sending = asyncio.ensure_future(at.send(body))
        assert not await both.served()
        end.writer.transport.resume_reading()
        await end.until()
        await end.exactly(len(body))
        await sending
        assert await both.served()


async def test_a_place_survives_a_reload_and_is_given_back_once(tmp_path):
    """The limit keeps its count under another number, and a request that began before is still counted."""
    async with between(tmp_path, "concurrent: 1") as both:
        end = await both.ask()
        at, _ = await both.arrived()
        text = both.path.read_text()
        await both.reload(text.replace("concurrent: 1", "concurrent: 2"))
        second = await both.ask()
        other, _ = await both.arrived()
        assert not await both.served()
        await both.answered(at)
        assert await both.status(end) == 200
        assert await both.served()
        third = await both.ask()
        await both.arrived()
        assert not await both.served()
        await both.answered(other)
        assert await both.status(second) == 200
        third.close()


@pytest.mark.redis
@pytest.mark.parametrize("cut", [True, False], ids=["cut off", "completed"])
async def test_no_place_is_left_in_redis_after_a_shutdown(tmp_path, cut):
    """Whether the requests in progress ended within the grace or were cut off at its end."""
    env = {"GRACEFUL_SHUTDOWN_TIMEOUT": "1" if cut else "60"}
    async with between(tmp_path, "concurrent: 5", store="redis", env=env) as both:
        ends = [await both.ask() for _ in range(3)]
        arrived = [await both.arrived() for _ in ends]
        assert len(both.redis.ask("KEYS", "*")) == 1
        both.running.terminate()
        await both.running.logged("draining")
        if not cut:
            for at, _ in arrived:
                await both.answered(at)
            assert [await both.status(end) for end in ends] == [200] * 3
        assert await both.running.ended() == 0
        assert both.redis.ask("KEYS", "*") == []
