"""Compressed requests on both transports, from real grpcio clients."""

import asyncio
import gzip

import grpc
import pytest
from grpc import aio

from tests.transport.raw import raw, read_until
from tests.transport.servers import ECHO, MESSAGE_BOUND, STREAM
from tests.transport.wire import message
from tests.turning import turning

COMPRESSIONS = [grpc.Compression.Gzip, grpc.Compression.Deflate]


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_calls_of_a_client_that_compresses_are_served(transport, compression):
    """Small messages and one of the maximum size, among calls that are not compressed."""
    bodies = [b"x" * size for size in (0, 1, 300, MESSAGE_BOUND)]
    async with transport.served(channel_options=[("grpc.default_compression_algorithm", compression)]) as (channel, _):
        call = channel.unary_unary(ECHO)
        plain = [call(body, compression=grpc.Compression.NoCompression) for body in bodies]
        assert await asyncio.gather(*(call(body) for body in bodies), *plain) == bodies * 2


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_streams_of_a_client_that_compresses_are_served(transport, compression):
    """Each message of a stream is unpacked."""
    async with transport.served() as (channel, _):
        call = channel.stream_stream(STREAM)(compression=compression)
        for body in (b"one" * 1000, b"two" * 1000):
            await call.write(body)
            assert body == await call.read()
        await call.done_writing()


@pytest.mark.scenario("messages that are too large")
async def test_a_bomb_is_refused_alone(transport):
    """A message that unpacks to more than the bound is RESOURCE_EXHAUSTED, unary and streamed; the next is served."""
    async with transport.served() as (channel, _):
        call = channel.unary_unary(ECHO)
        with pytest.raises(aio.AioRpcError) as caught:
            await call(bytes(64 << 20), compression=grpc.Compression.Gzip)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        stream = channel.stream_stream(STREAM)(iter([bytes(64 << 20)]), compression=grpc.Compression.Gzip)
        assert await stream.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(b"x") == b"x"


@pytest.mark.scenario("the event loop is blocked")
async def test_a_window_full_of_messages_does_not_hold_the_loop(fast):
    """The loop turns between the messages of a stream, however many arrived in one read."""
    payload = message(gzip.compress(b"x"), flag=1) * 500
    seen = []

    with turning() as turns:

        async def count(stream):
            seen.extend([turns.count async for _ in stream])

        async with fast.serve(stream=count) as server, raw(server) as (caller, reader, writer):
            writer.write(caller.headers(("grpc-encoding", "gzip"), path=STREAM) + caller.data(payload))
            await read_until(caller, reader, lambda: caller.answer().headers)
    assert (len(seen), len(set(seen))) == (500, 500)
