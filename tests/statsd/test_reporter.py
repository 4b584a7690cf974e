"""Flushes to real sockets: what arrives, and what happens while no receiver takes it."""

import asyncio
import socket
import struct

import pytest
from structlog.testing import capture_logs

from ratelimitd.limiter.stats import Tallies
from ratelimitd.observe.metrics import SLICE, SLICE_BYTES, Counters
from ratelimitd.statsd import DatagramSink, Reporter, TcpSink, service_stats, sinks
from ratelimitd.statsd import reporter as reporter_module
from tests.turning import turning

from .receiving import PATIENCE, PLAIN, datagrams, tcp

HITS = "ratelimit.service.rate_limit.d.{}.total_hits:{}|c"


def rig(sink, limits=("k",), interval=3600.0):
    tallies, counters = Tallies(), Counters()
    for name in limits:
        tallies.of(("d", name), "", from_request=False).total_hits = 1
    made = Reporter(sink, PLAIN, tallies, counters, lambda: service_stats(counters, ()), interval)
    return made, tallies, counters


def hit(tallies):
    for tally in tallies:
        tally.total_hits += 1


@pytest.fixture
def no_wait(monkeypatch):
    """Let each flush try to connect."""
    monkeypatch.setattr(reporter_module, "RETRY", 0.0)


async def test_a_flush_arrives_over_tcp():
    """Limits, the service and response times in one connection, which later flushes use too."""
    async with tcp() as received:
        made, tallies, counters = rig(TcpSink(*received.address))
        counters.called("Check", 0.002, 1)
        await made.flush()
        hit(tallies)
        await made.flush()
        await received.has(HITS.format("k", 1))
        await made.close()
        assert set(received.lines) == {
            HITS.format("k", 1),
            "ratelimit_server.Check.total_requests:1|c",
            "ratelimit_server.Check.response_time:2|ms",
        }
        assert (len(received.lines), made.sent, made.lost, len(received.connections)) == (4, 4, 0, 1)


@pytest.mark.parametrize(("unix", "most"), [(False, sinks.UDP_BYTES), (True, sinks.UNIX_BYTES)])
async def test_a_flush_arrives_in_datagrams(tmp_path, unix, most):
    """Over UDP and over a unix socket: whole lines, and no datagram is larger than its receiver takes."""
    path = str(tmp_path / "dsd.socket") if unix else ""
    names = [f"limit-{n:04}" for n in range(400)]
    async with datagrams(path) as received:
        made, *_ = rig(DatagramSink(path=path) if unix else DatagramSink(*received.address), names)
        await made.flush()
        await received.has(HITS.format(names[-1], 1))
        assert received.lines == [HITS.format(name, 1) for name in names]
        assert most // 2 < max(received.sizes) <= most
        await made.close()


async def test_counts_wait_while_the_sink_is_away(no_wait):
    """No line is made meanwhile; the first flush that can be sent has the sum."""
    async with tcp() as first:
        address = first.address
    made, tallies, _ = rig(TcpSink(*address))
    await made.flush()
    hit(tallies)
    await made.flush()
    assert (made.sent, made.lost, made.skipped) == (0, 0, 2)
    async with tcp(address[1]) as second:
        await made.flush()
        await second.has(HITS.format("k", 2))
        assert (made.sent, made.skipped) == (1, 2)
        await made.close()


async def test_a_dead_sink_is_tried_now_and_then():
    """Flushes may be frequent; attempts to connect are not."""
    async with tcp() as first:
        address = first.address
    sink = TcpSink(*address)
    made, *_ = rig(sink)
    tries, opened = [], sink.open

    async def counted():
        tries.append(1)
        await opened()

    sink.open = counted
    for _ in range(5):
        await made.flush()
    assert (len(tries), made.skipped) == (1, 5)


def closed(server):
    server.write_eof()


def reset(server):
    server.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.transport.abort()


def talked(server):
    """More than a reader keeps before it stops reading, so that the end behind it would not be seen."""
    server.write(b"x" * (1 << 20))
    server.write_eof()


@pytest.mark.parametrize("end", [closed, reset, talked])
async def test_a_connection_that_the_server_ended_is_made_anew(no_wait, end):
    """statsd that restarts loses what was on its way, and nothing later, in whichever way its connection ended."""
    async with tcp() as received:
        made, tallies, _ = rig(TcpSink(*received.address))
        await made.flush()
        await received.has(HITS.format("k", 1))
        end(received.connections[0])
        async with asyncio.timeout(PATIENCE):
            while not made._sink._writer.is_closing():
                await asyncio.sleep(0)
        for tally in tallies:
            tally.total_hits += 7
        await made.flush()
        await received.has(HITS.format("k", 7))
        assert (made.lost, made.skipped) == (0, 0)
        await made.close()


async def test_an_agent_over_udp_that_is_away_is_told_once(no_wait):
    """A new socket takes a datagram with or without a receiver, so only the flush after it proves that one is back."""
    async with datagrams() as first:
        address = first.address
    made, tallies, _ = rig(DatagramSink(*address))
    with capture_logs() as lines:
        for _ in range(6):
            hit(tallies)
            await made.flush()
        assert [line["event"] for line in lines] == ["statsd is away"]
        assert (made.lost, made.skipped) == (0, 3)
        async with datagrams(port=address[1]):
            for _ in range(3):
                hit(tallies)
                await made.flush()
        assert [line["event"] for line in lines] == ["statsd is away", "statsd is back"]
    await made.close()


async def test_a_sink_that_does_not_read_is_left(monkeypatch):
    """After SEND_TIME; the lines of that chunk are lost and counted, the others wait for the next flush."""
    monkeypatch.setattr(sinks, "SEND_TIME", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        made, tallies, _ = rig(TcpSink(*deaf.getsockname()), [f"{n}-".ljust(200, "x") for n in range(40_000)])
        async with asyncio.timeout(PATIENCE):
            await made.flush()
        left = sum(piece.count(b"\n") for piece in made._deltas.limits(tallies))
        assert 0 < made.lost <= SLICE
        assert made.sent + made.lost + left == 40_000
        assert left > 0
        assert made._sink._writer is None


async def test_a_flush_of_100_000_series_gives_way_between_bounded_chunks():
    """The loop turns after each chunk, which has SLICE limits or SLICE_BYTES at most, and a line."""

    class Kept:
        where, chunks = "", []

        async def open(self):
            pass

        async def send(self, lines):
            self.chunks.append(lines)

    made, tallies, _ = rig(Kept(), map(str, range(50_000)))
    for tally in tallies:
        tally.over_limit = 1
    with turning() as turns:
        await made.flush()
    assert sum(chunk.count(b"\n") for chunk in Kept.chunks) == 100_000
    assert max(map(len, Kept.chunks)) <= SLICE_BYTES + 200
    assert turns.count >= len(Kept.chunks)


async def test_unchanged_series_give_way_too():
    """A flush that sends nothing still looks at each limit."""
    async with tcp() as received:
        made, tallies, _ = rig(TcpSink(*received.address), map(str, range(10_000)))
        await made.flush()
        with turning() as turns:
            await made.flush()
        assert turns.count >= len(tallies) / SLICE
        await made.close()


async def test_the_end_of_a_process_sends_the_rest():
    """What was counted since the last flush is not lost at a rollout."""
    async with tcp() as received:
        made, *_ = rig(TcpSink(*received.address))
        running = asyncio.create_task(made.run())
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        await made.close()
        await received.has(HITS.format("k", 1))


async def test_flushes_repeat_at_their_interval():
    """STATS_FLUSH_INTERVAL after STATS_FLUSH_INTERVAL."""
    async with tcp() as received:
        made, tallies, _ = rig(TcpSink(*received.address), interval=0.001)
        running = asyncio.create_task(made.run())
        await received.has(HITS.format("k", 1))
        for tally in tallies:
            tally.total_hits += 7
        await received.has(HITS.format("k", 7))
        running.cancel()
        await asyncio.wait([running])
        await made.close()


async def test_an_agent_that_is_not_there_costs_a_counter(tmp_path):
    """Neither a missing unix socket nor a name that is none ends anything."""
    none = DatagramSink(path=str(tmp_path / "none.socket"))
    for sink in (none, TcpSink("host.invalid", 8125), TcpSink("a..b", 8125), DatagramSink("a..b", 8125)):
        made, *_ = rig(sink)
        await made.flush()
        await made.close()
        assert (made.sent, made.lost, made.skipped) == (0, 0, 2)
