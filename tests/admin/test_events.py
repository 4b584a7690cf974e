"""Server-sent events on real sockets: one rendering for all readers, and readers that are slow, gone or too many."""

import asyncio
import json
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress

import pytest

from ratelimitd.admin import Hub, LiveAccess, TokenGuard, Topics, events, live_pages, server
from ratelimitd.admin.events import Rendered, Timed, Topic, frame
from ratelimitd.admin.server import Clients, listen
from tests.admin.viewing import ID, Alone, View

TOKEN = "0123456789abcdef"
GOODBYE = b"event: shutdown\ndata: {}\n\n"
PATIENCE = 30.0


class Reading:
    """A client of a stream: its head, then its events as (name, document)."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.head = b""
        self._text = b""

    async def _line(self):
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n")

    async def piece(self):
        """What one chunk has; b"" at the end of the response."""
        size = int(await self._line(), 16)
        async with asyncio.timeout(PATIENCE):
            return (await self.reader.readexactly(size + 2))[:-2]

    async def event(self):
        """The next event; a comment is (None, None)."""
        while b"\n\n" not in self._text:
            piece = await self.piece()
            if not piece:
                return None
            self._text += piece
        block, _, self._text = self._text.partition(b"\n\n")
        if block.startswith(b":"):
            return None, None
        fields = dict(line.split(": ", 1) for line in block.decode().splitlines())
        return fields["event"], json.loads(fields["data"])

    async def named(self, name):
        """The next event of this name."""
        async with asyncio.timeout(PATIENCE):
            while (found := await self.event())[0] != name:
                pass
        return found[1]


class Port:
    """A port with the pages of a view."""

    def __init__(self, listening, hub, view):
        self.hub = hub
        self.view = view
        self.port = listening.port
        self.opened = []

    async def read(self, target="/live/events", token=False, status=b"200", buffer=0):
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        made = Reading(*await asyncio.open_connection(sock=sock, limit=buffer or 1 << 16))
        self.opened.append(made.writer)
        authorization = f"Authorization: Bearer {TOKEN}\r\n" if token else ""
        made.writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            made.head = await made.reader.readuntil(b"\r\n\r\n")
        assert made.head.split()[1] == status, made.head
        return made


@asynccontextmanager
async def port(render=None, every=0.01, **options):
    view = View()
    hub = Hub(render or Topics(view).render, every)
    guard = TokenGuard(TOKEN.encode, lambda: 0)
    listening = await listen(
        live_pages(view, LiveAccess(guard), hub, Alone()), "127.0.0.1", 0, clients=Clients(**options)
    )
    made = Port(listening, hub, view)
    try:
        yield made
    finally:
        for writer in made.opened:
            writer.transport.abort()
        await listening.close()
        hub.close(GOODBYE)


async def until(holds):
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.005)


async def test_a_reader_sees_overview_limits_and_denials_again_and_again():
    """As events, not to be cached or sniffed; with an id the limit too."""
    async with port() as live:
        reading = await live.read()
        assert b"\r\nContent-Type: text/event-stream\r\n" in reading.head
        assert b"\r\nX-Content-Type-Options: nosniff\r\n" in reading.head
        names = [(await reading.event())[0] for _ in range(3)]
        assert names == ["overview", "limits", "denials"]
        assert [(await reading.named("overview"))["keys"] for _ in range(3)] == ["hashed"] * 3
        of_one = await live.read(f"/live/events?id={ID}", token=True)
        assert (await of_one.named("limit"))["limit"] == {"id": ID}
        assert (await of_one.named("overview"))["keys"] == "shown"


async def test_a_limit_that_is_gone_is_null():
    """A reload took it: the event says so, and the reader stays."""
    async with port() as live:
        reading = await live.read(f"/live/events?id={ID}")

        async def none(limit_id, *, plain):
            return None

        live.view.limit = none
        async with asyncio.timeout(PATIENCE):
            while (await reading.named("limit"))["limit"] is not None:
                pass


async def test_denials_come_once_and_again_when_they_are_counted_more():
    """A new reader gets all of them first."""
    async with port() as live:
        reading = await live.read()
        assert (await reading.named("denials"))["denials"] == [{"serial": 1, "count": 1}]
        live.view.serials = [(2, 1), (1, 1)]
        assert (await reading.named("denials"))["denials"] == [{"serial": 2, "count": 1}]
        live.view.serials = [(2, 5), (1, 1)]
        assert (await reading.named("denials"))["denials"] == [{"serial": 2, "count": 5}]
        second = await live.read()
        assert len((await second.named("denials"))["denials"]) == 2


async def test_all_readers_share_one_rendering():
    """However many there are; and nothing is rendered without a reader."""
    rendered = []

    async def render(topic):
        rendered.append(topic)
        made = frame(topic.name, {"n": len(rendered)})
        return Rendered(made, made)

    async with port(render, every=3600) as live:
        readings = [await live.read() for _ in range(20)]
        assert {(await each.named("overview"))["n"] for each in readings} == {1}
        assert len(rendered) == 3
        await live.read(token=True)
        await until(lambda: len(rendered) == 9)
        for writer in live.opened:
            writer.close()
        await until(lambda: not len(live.hub))
        assert live.hub._task is None


async def test_rendering_takes_a_hundredth_of_a_core(monkeypatch):
    """The interval follows the processor time that rendering takes."""
    pauses = []

    async def pause(usual, soon):
        pauses.append((usual, soon))
        await asyncio.Event().wait()

    async def render(topic):
        ends = time.thread_time() + 0.01
        while time.thread_time() < ends:
            pass
        return Rendered(b": x\n\n", b": x\n\n")

    async with port(render) as live:
        monkeypatch.setattr(live.hub, "_pause", pause)
        await live.read()
        await until(lambda: pauses)
        usual, soon = pauses[0]
        assert usual == soon
        assert 3.0 <= usual <= 6.0


async def test_readers_of_many_limits_keep_no_other_waiting(monkeypatch):
    """Limits take turns, as many as their share of an interval allows; what all readers see is always there."""
    monkeypatch.setattr(events, "SHARE", 1.0)
    made, enough = [], asyncio.Event()

    async def render(topic):
        made.append(topic.id)
        ends = time.thread_time() + (0.02 if topic.id else 0.0)
        while time.thread_time() < ends:
            pass
        if all(made.count(name) >= 3 for name in "abcde"):
            enough.set()
        return Rendered(b":\n\n", b":\n\n")

    async def read(hub, name):
        async for _ in hub.read((Topic("overview", False), Topic("limit", False, name))):
            pass

    hub = Hub(render, every=0.01)
    reading = [asyncio.create_task(read(hub, name)) for name in "abcde"]
    async with asyncio.timeout(PATIENCE):
        await enough.wait()
    hub.close(GOODBYE)
    await asyncio.gather(*reading)
    assert "".join(made[:10]) == "abcde"
    assert made[:10:2] == [""] * 5


async def test_time_of_others_is_not_that_of_rendering():
    """While a rendering waits, the loop does other work, which is not counted."""

    async def others():
        ends = time.thread_time() + 0.05
        while time.thread_time() < ends:
            pass

    async def slow():
        working = asyncio.create_task(others())
        await working
        return Rendered(b"", b"made")

    timed = Timed(slow())
    assert (await timed).whole == b"made"
    assert timed.spent < 0.04


async def test_a_rendering_that_waits_is_cancelled_with_its_task():
    """Its own clean-up runs."""
    ended = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def waits():
        await Timed(slow())

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_a_topic_that_fails_costs_no_other(caplog):
    """It is told once."""

    async def render(topic):
        if topic.name == "limits":
            raise RuntimeError("a bug")
        made = frame(topic.name, {})
        return Rendered(made, made)

    async with port(render) as live:
        reading = await live.read()
        assert [(await reading.event())[0] for _ in range(4)] == ["overview", "denials"] * 2


async def test_a_client_that_leaves_is_noticed():
    """Orderly or not, its place is free at once, and the last one ends the rendering."""
    async with port(every=3600) as live:
        readings = [await live.read() for _ in range(2)]
        await until(lambda: len(live.hub) == 2)
        readings[0].writer.close()
        await until(lambda: len(live.hub) == 1)
        sock = readings[1].writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        readings[1].writer.transport.abort()
        await until(lambda: len(live.hub) == 0)


def large(size):
    async def render(topic):
        made = frame(topic.name, {"x": "x" * size})
        return Rendered(made, made)

    return render


async def test_a_slow_reader_is_dropped_and_others_are_not(monkeypatch):
    """It gets no further frame while it has one, and after a time none at all."""
    monkeypatch.setattr(events, "LATE", 0.2)
    monkeypatch.setattr(events, "UNREAD_BYTES", 1 << 30)
    async with port(large(1 << 20)) as live:
        slow = await live.read(buffer=4096)
        good = await live.read()
        await until(lambda: len(live.hub) == 2)
        async with asyncio.timeout(PATIENCE):
            while len(live.hub) == 2:
                await good.event()
        await good.named("overview")
        with suppress(ConnectionResetError):
            async with asyncio.timeout(PATIENCE):
                assert not (await slow.reader.read()).endswith(b"0\r\n\r\n")


async def test_what_is_not_read_is_bounded_for_all_readers_together(monkeypatch):
    """Beyond the bound those that have read nothing for longest are dropped, long before they are late."""
    monkeypatch.setattr(events, "UNREAD_BYTES", 5 << 20)
    async with port(large(1 << 20), every=3600) as live:
        for _ in range(4):
            await live.read(buffer=4096)
        await until(lambda: len(live.hub) == 1)
        (left,) = live.hub._readers
        assert left.unread <= 5 << 20


async def test_readers_have_places_of_their_own(monkeypatch):
    """Neither the two of other streamed responses nor their time; one more is told when to try again."""
    monkeypatch.setitem(server.STREAMINGS, "text", server.STREAMINGS["text"]._replace(most=0, seconds=0.01))
    async with port(most=8) as live:
        readings = [await live.read() for _ in range(7)]
        refused = await live.read(status=b"503")
        assert b"\r\nRetry-After: 1\r\n" in refused.head
        for each in readings:
            await each.named("overview")


async def test_a_caller_with_the_token_takes_the_place_of_one_without(monkeypatch):
    """A stranger that holds all places keeps no operator out; operators keep each other's."""
    async with port(most=3) as live:
        first, second = [await live.read() for _ in range(2)]
        operators = [await live.read(token=True) for _ in range(2)]
        for each in (first, second):
            with suppress(ConnectionResetError):
                async with asyncio.timeout(PATIENCE):
                    await each.reader.read()
        await live.read(token=True, status=b"503")
        for each in operators:
            await each.named("overview")


async def test_the_end_of_the_process_ends_each_reader_at_once():
    """With an event, then orderly; a reader that comes later is told to go elsewhere."""
    async with port(every=3600) as live:
        readings = [await live.read(), await live.read(f"/live/events?id={ID}"), await live.read("/live/decisions")]
        await until(lambda: len(live.hub) == 2 and live.view.feeds)
        live.hub.close(GOODBYE)
        for each in readings:
            assert await each.named("shutdown") == {}
            assert await each.event() is None
        assert len(live.hub) == 0
        assert live.view.feeds[0].closed
        await live.read(status=b"503")


async def test_decisions_come_as_they_are_made():
    """Each an event; those left out are counted; the feed closes with its reader."""
    async with port() as live:
        reading = await live.read("/live/decisions?entry=user&lines=5", token=True)
        await until(lambda: live.view.feeds)
        (feed,) = live.view.feeds
        assert (feed.watched.selection.key, feed.watched.lines, feed.plain) == (b"user", 5, True)
        feed.taken, feed.left_out = [{"code": "OK"}, {"code": "OVER_LIMIT"}], 3
        assert await reading.event() == (None, None)
        assert await reading.event() == ("decision", {"code": "OK"})
        assert await reading.event() == ("decision", {"code": "OVER_LIMIT"})
        assert await reading.event() == ("skipped", {"count": 3})
        reading.writer.close()
        await until(lambda: feed.closed)


async def test_four_read_decisions_at_a_time():
    """Each costs every decision a comparison."""
    async with port() as live:
        for _ in range(4):
            await live.read("/live/decisions")
        await live.read("/live/decisions", status=b"503")
        await live.read("/live/events")


@pytest.mark.parametrize("target", ["/live/decisions", "/live/events"])
async def test_a_silent_stream_has_a_heartbeat(monkeypatch, target):
    """A comment, so that no proxy between takes it for idle."""
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    monkeypatch.setattr("ratelimitd.admin.live.HEARTBEAT", 0.05)
    monkeypatch.setattr("ratelimitd.admin.live.FLUSH", 0.01)
    monkeypatch.setattr(events, "SOON", 0.01)
    async with port(every=3600) as live:
        reading = await live.read(target)
        if target == "/live/events":
            await reading.named("denials")
        assert [await reading.event() for _ in range(3)] == [(None, None)] * 3


async def test_head_reads_nothing():
    """No reader is left behind."""
    async with port() as live:
        reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
        live.opened.append(writer)
        for target in (b"/live/events", b"/live/decisions"):
            writer.write(b"HEAD %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target)
            async with asyncio.timeout(PATIENCE):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert (len(live.hub), live.view.feeds) == (0, [])


def test_a_frame_has_no_line_end_within():
    """Whatever a document says: JSON escapes it."""
    assert frame("x", {"a": "\n\r\u2028"}) == b'event: x\ndata: {"a":"\\n\\r\\u2028"}\n\n'


def test_a_topic_is_rendered_for_those_with_the_token_apart():
    """Plain keys never share a frame with hashed ones."""
    assert Topic("overview", True) != Topic("overview", False)
