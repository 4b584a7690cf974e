"""What one read brought is decoded in pieces, so that a read costs the others no more than a turn."""

import asyncio
import gzip

import pytest

from ratelimitd.net.turns import TURN_COST
from ratelimitd.transport._nghttp2 import COST_BYTES, INFLATED_COST_BYTES
from ratelimitd.transport.connection import PIECE_BYTES
from tests.transport.raw import raw, read_until
from tests.transport.wire import message

pytestmark = pytest.mark.scenario("clients that flood, reset streams, or do not read")

MOST = 128 << 10
BOMB = message(gzip.compress(bytes(MOST)), flag=1)


async def received(fast, calls):
    """A connection gets these bytes in one read: (calls that were decoded in it, whether more wait, the statuses)."""
    served = []

    def serve(calls):
        served.extend(call.body for call in calls)
        for call in calls:
            call.respond(b"")

    async with (
        fast.serve(serve, options=fast.options._replace(max_request_bytes=MOST)) as server,
        raw(server) as (caller, reader, _),
    ):
        await read_until(caller, reader, lambda: caller.frames)
        (connection,) = server.places
        while not connection._session.settings_received:
            await asyncio.sleep(0)
        connection.data_received(b"".join(calls(caller)))
        at_once, waits = len(served) + server.calls, connection.waits
        streams = range(1, caller.last + 1, 2)
        await read_until(caller, reader, lambda: all(caller.answer(stream).headers for stream in streams))
        statuses = [caller.answer(stream).status[1] for stream in streams]
    return at_once, waits, statuses


async def test_a_large_read_is_decoded_in_pieces(fast):
    """In one turn no more bytes are decoded than the turn has room for; the rest follows, whole and in order."""
    size, number = 8_000, 64
    at_once, waits, statuses = await received(fast, lambda caller: [caller.call(bytes(size)) for _ in range(number)])
    assert at_once * size <= TURN_COST * COST_BYTES + PIECE_BYTES
    assert waits
    assert statuses == ["0"] * number


async def test_what_a_message_is_decompressed_to_costs_too(fast):
    """A piece whose messages decompress to a turn's worth is the only one of its turn."""
    headers = ("grpc-encoding", "gzip")
    at_once, waits, statuses = await received(
        fast, lambda caller: [caller.headers(headers) + caller.data(BOMB) for _ in range(900)]
    )
    assert at_once * MOST <= TURN_COST * INFLATED_COST_BYTES
    assert waits
    assert set(statuses) == {"0", "8"}
