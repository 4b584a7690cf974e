"""Calls that their caller gives up, over each transport."""

import asyncio

import pytest

from tests.transport.servers import ECHO, put_into

PATIENCE = 30.0


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_a_call_whose_caller_left_can_not_be_answered(transport):
    """It says so to the service, so that what belongs to the request is given up; one that waits can be."""
    arrived = asyncio.Queue()
    async with transport.served(put_into(arrived)) as (channel, _):
        first = channel.unary_unary(ECHO)(b"")
        left = await arrived.get()
        assert not left.answered
        first.cancel()
        async with asyncio.timeout(PATIENCE):
            while not left.answered:
                await asyncio.sleep(0)
        second = channel.unary_unary(ECHO)(b"x")
        waits = await arrived.get()
        assert not waits.answered
        waits.respond(b"x")
        assert waits.answered
        assert await second == b"x"
