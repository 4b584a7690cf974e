"""``queue`` of a limit through the proxy: who waits, in which order, how long, and what becomes of it. Real sockets."""

import asyncio

import pytest

from .between import between

pytestmark = pytest.mark.process

STORES = ("memory", pytest.param("redis", marks=pytest.mark.redis))
ONE = "concurrent: 1, queue: {length: 10, timeout: 60s}"
DEPTH = "gateway_queue_depth"


async def waiting(both, count):
    """Wait until so many requests wait for limits."""
    await both.until_metric(DEPTH + "{", count)


async def queued(both, *paths, **headers):
    """Requests that wait, in this order."""
    before = await both.metric(DEPTH + "{")
    ends = []
    for number, path in enumerate(paths, start=1):
        ends.append(await both.ask(path, **headers))
        await waiting(both, before + number)
    return ends


async def retry_after(end):
    head, _ = await end.answer()
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return int(head.split()[1]), int(lines.get(b"Retry-After", 0)), lines


@pytest.mark.parametrize("store", STORES)
async def test_requests_of_a_key_wait_and_are_served_in_their_order(tmp_path, store):
    """One place: the others wait, each is forwarded when the one before it has ended, and none is denied."""
    async with between(tmp_path, ONE, store=store) as both:
        first = await both.ask("/0")
        ends = [first, *await queued(both, *(f"/{number}" for number in range(1, 6)))]
        assert [await both.answered() for _ in ends] == [f"/{number}" for number in range(6)]
        assert [await both.status(end) for end in ends] == [200] * 6
        assert await both.metric('gateway_queue_requests_total{limit="d.one",outcome="served"}') == 5
        assert await both.metric("gateway_queue_wait_seconds_count") == 5
        await waiting(both, 0)


@pytest.mark.parametrize("store", STORES)
async def test_a_busy_key_delays_no_other(tmp_path, store):
    """Each key has places and a line of its own."""
    async with between(tmp_path, ONE, store=store) as both:
        await both.ask("/busy", one="a")
        await both.arrived()
        await queued(both, "/1", "/2", "/3", one="a")
        assert await both.served(one="b")
        await waiting(both, 3)


async def test_keys_take_turns_for_a_limit_that_all_share(tmp_path):
    """Three of one caller wait before the first of another one: that is second, not fourth."""
    limits = ("concurrent: 1, queue: {length: 10, timeout: 60s}", "unit: hour, requests_per_unit: 100")
    async with between(tmp_path, *limits, actions=("one", "user")) as both:
        await both.ask("/0", user="a")
        await queued(both, "/a1", "/a2", "/a3", user="a")
        await queued(both, "/b1", "/b2", user="b")
        assert [await both.answered() for _ in range(6)] == ["/0", "/a1", "/b1", "/a2", "/b2", "/a3"]


async def test_a_request_that_comes_later_does_not_overtake(tmp_path):
    """Of a rate too: it goes to the end of the line, though there may be room for it when it comes."""
    async with between(tmp_path, ONE) as both:
        first = await both.ask("/0")
        at, _ = await both.arrived()
        await queued(both, "/1", "/2")
        await both.answered(at)
        await both.status(first)
        await both.ask("/3")
        assert [await both.answered() for _ in range(3)] == ["/1", "/2", "/3"]


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_a_client_that_leaves_gives_up_its_place_at_once(tmp_path, leave):
    """Another one has it in the full line; the upstream never hears of the one that left."""
    async with between(tmp_path, "concurrent: 1, queue: {length: 2, timeout: 60s}") as both:
        await both.ask("/0")
        ends = await queued(both, "/1", "/2")
        assert (await retry_after(await both.ask("/full")))[0] == 429
        getattr(ends[0], leave)()
        await waiting(both, 1)
        await queued(both, "/3")
        assert [await both.answered() for _ in range(3)] == ["/0", "/2", "/3"]
        assert await both.metric('gateway_queue_requests_total{limit="d.one",outcome="left"}') == 1
        assert [line["path"] for line in both.logged() if line["status"] == 0] == ["/1"]


async def test_a_full_line_denies_at_once_with_an_honest_time(tmp_path):
    """Of 60 a minute, one at a time: behind four that wait the next one passes in five seconds, not in one."""
    limit = "unit: minute, requests_per_unit: 60, burst: 1, algorithm: gcra, queue: {length: 4, timeout: 60s}"
    async with between(tmp_path, limit) as both:
        assert await both.served()
        ends = [await both.ask(f"/{number}") for number in range(4)]
        await waiting(both, 4)
        status, wait, lines = await retry_after(await both.ask("/full"))
        assert (status, wait) in {(429, 4), (429, 5)}
        assert int(lines[b"X-RateLimit-Reset"]) == wait
        assert await both.metric('gateway_queue_requests_total{limit="d.one",outcome="full"}') == 1
        assert [await both.answered() for _ in ends] == ["/0", "/1", "/2", "/3"]


async def test_a_wait_that_cannot_end_in_time_is_not_begun(tmp_path):
    """The next window is an hour away: the client hears so at once, and no place is taken."""
    limit = "unit: hour, requests_per_unit: 1, algorithm: gcra, queue: {length: 4, timeout: 1s}"
    async with between(tmp_path, limit) as both:
        assert await both.served()
        status, wait, _ = await retry_after(await both.ask())
        assert status == 429
        assert wait > 3_000
        assert await both.metric('gateway_queue_requests_total{limit="d.one",outcome="too_late"}') == 1


async def test_a_wait_that_lasts_too_long_is_denied(tmp_path):
    """After ``timeout``; the client may come again in as long, since no place came free meanwhile."""
    async with between(tmp_path, "concurrent: 1, queue: {timeout: 2s}") as both:
        end = await both.ask("/0")
        at, _ = await both.arrived()
        status, wait, _ = await retry_after(await both.ask("/late"))
        assert (status, wait) == (429, 2)
        assert await both.metric('gateway_queue_requests_total{limit="d.one",outcome="timed_out"}') == 1
        await both.answered(at)
        assert await both.status(end) == 200
        (line,) = [line for line in both.logged() if line["path"] == "/late"]
        assert 1_990_000_000 < line["queued"] <= line["latency"]  # a timer of the loop may be a millisecond early


@pytest.mark.parametrize("store", STORES)
async def test_a_rate_is_shaped(tmp_path, store):
    """Ten at once at 20 a second, none of burst: all are served, none sooner than its turn."""
    limit = "unit: second, requests_per_unit: 20, burst: 1, algorithm: leaky_bucket, queue: {}"
    async with between(tmp_path, limit, store=store) as both:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        ends = [await both.ask(f"/{number}") for number in range(10)]
        for _ in ends:
            await both.answered()
        assert loop.time() - begun >= 9 / 20 - 0.01
        assert [await both.status(end) for end in ends] == [200] * 10


async def test_waiting_costs_nothing_of_other_limits(tmp_path):
    """Two requests, one after the other, of two an hour: the second has asked many times, and is one request."""
    limits = ("concurrent: 1, queue: {timeout: 60s}", "unit: hour, requests_per_unit: 2")
    async with between(tmp_path, *limits, actions=("one", "user")) as both:
        first = await both.ask("/0", user="a")
        at, _ = await both.arrived()
        (second,) = await queued(both, "/1", user="a")
        for _ in range(3):  # a reload lets every line ask
            await both.reload(both.path.read_text() + " ")
        await waiting(both, 1)
        await both.answered(at)
        assert await both.answered() == "/1"
        heads = [(await end.answer())[0] for end in (first, second)]
        assert b"X-RateLimit-Remaining: 0" in heads[1]
        assert (await retry_after(await both.ask("/2", user="a")))[0] == 429


async def test_a_removed_limit_lets_its_line_go_on(tmp_path):
    """A reload without it: those that wait, here for up to an hour, are forwarded at once."""
    hourly = "unit: hour, requests_per_unit: 2, burst: 1, algorithm: gcra, queue: {timeout: 1h}"
    async with between(tmp_path, hourly) as both:
        assert await both.served()
        await queued(both, "/1")
        await both.reload(both.path.read_text().replace(hourly, "unlimited: true"))
        assert await both.answered() == "/1"


async def test_a_raised_limit_lets_as_many_go_on(tmp_path):
    """The others wait on; a request keeps the routes that it began with."""
    async with between(tmp_path, ONE) as both:
        await both.ask("/0")
        await both.arrived()
        await queued(both, "/1", "/2", "/3")
        await both.reload(both.path.read_text().replace("concurrent: 1", "concurrent: 3"))
        heads = [(await both.arrived())[1].split()[1] for _ in range(2)]
        assert heads == [b"/1", b"/2"]
        await waiting(both, 1)


async def test_the_body_of_a_request_that_waits_is_not_read(tmp_path):
    """Nor is ``Expect: 100-continue`` answered before its turn; then it arrives complete."""
    async with between(tmp_path, ONE) as both:
        await both.ask("/0")
        more = b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        end = await both.ask("/body", method="POST", more=more)
        await waiting(both, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await end.reader.read(1)
        await both.answered()
        assert (await end.until()).startswith(b"HTTP/1.1 100 ")
        await end.send(b"body")
        at, _ = await both.arrived()
        assert await at.exactly(4) == b"body"
        await both.answered(at)
        assert await both.status(end) == 200


async def test_a_shutdown_serves_those_that_wait_while_time_is_left(tmp_path):
    """They were accepted: each is forwarded as a place comes free, and its connection is closed then."""
    env = {"GRACEFUL_SHUTDOWN_TIMEOUT": "60"}
    async with between(tmp_path, ONE, env=env) as both:
        first = await both.ask("/0")
        ends = [first, *await queued(both, "/1", "/2")]
        both.running.terminate()
        await both.running.logged("draining")
        assert [await both.answered() for _ in ends] == ["/0", "/1", "/2"]
        heads = [(await end.answer())[0] for end in ends]
        assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
        assert b"Connection: close" in heads[2]
        assert await both.running.ended() == 0


async def test_a_shutdown_answers_those_for_which_no_time_is_left(tmp_path):
    """503, Retry-After and the end of the connection, before the process ends; the log says why."""
    env = {"GRACEFUL_SHUTDOWN_TIMEOUT": "2"}
    async with between(tmp_path, ONE, env=env) as both:
        await both.ask("/0")
        (end,) = await queued(both, "/1")
        both.running.terminate()
        status, wait, lines = await retry_after(end)
        assert (status, wait, lines[b"Connection"]) == (503, 1, b"close")
        await end.closed()
        assert await both.running.ended() == 0
        (line,) = [line for line in both.logged() if line["path"] == "/1"]
        assert "stopped while the request waited" in line["error"]


async def test_the_denial_of_another_limit_ends_the_wait(tmp_path):
    """One without a queue denies a request that waited as it denies any other."""
    limits = (ONE, "unit: hour, requests_per_unit: 2, algorithm: gcra")
    async with between(tmp_path, *limits, actions=("one", "user")) as both:
        await both.ask("/0", user="a")
        _, last = await queued(both, "/1", "/2", user="a")
        await both.answered()
        await both.answered()
        assert (await retry_after(last))[0] == 429
        assert await both.metric('gateway_queue_requests_total{limit="d.one",outcome="denied"}') == 1


async def test_one_client_cannot_keep_others_from_waiting(tmp_path):
    """It fills the line; another one gets the newest of its places, and the one that had it is denied."""
    async with between(tmp_path, "concurrent: 1, queue: {length: 3, timeout: 60s}") as both:
        await both.ask("/0")
        *_, newest = await queued(both, "/1", "/2", "/3")
        await both.ask("/other", source="127.0.0.2")
        assert (await retry_after(newest))[0] == 429
        assert [await both.answered() for _ in range(4)] == ["/0", "/1", "/2", "/other"]


@pytest.mark.redis
async def test_a_place_that_another_process_frees_is_found(tmp_path):
    """The first in line asks for it from time to time, since nothing tells."""
    async with between(tmp_path, ONE, store="redis") as both:
        end = await both.ask("/0")
        at, _ = await both.arrived()
        async with both.beside() as other:
            waits = await other.ask("/1")
            await waiting(other, 1)
            await both.answered(at)
            assert await both.status(end) == 200
            assert await other.answered() == "/1"
            assert await other.status(waits) == 200


async def test_nothing_waits_without_a_queue(tmp_path):
    """The second request of one place is denied at once."""
    async with between(tmp_path, "concurrent: 1") as both:
        await both.ask("/0")
        await both.arrived()
        assert (await retry_after(await both.ask("/1")))[0] == 429
