"""Calls that their caller gives up, over each transport."""

import asyncio

import pytest

from tests.transport.servers import ECHO

PATIENCE = 30.0


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_a_call_whose_caller_left_can_not_be_answered(transport):
    """It says so to the service, so that what belongs to the request is given up; one that waits can be."""
    held, arrived = [], asyncio.Semaphore(0)

    def hold(calls):
        held.extend(calls)
        for _ in calls:
            arrived.release()

    async with transport.served(hold) as (channel, _):
        first = channel.unary_unary(ECHO)(b"")
        await arrived.acquire()
        assert not held[0].answered
        first.cancel()
        async with asyncio.timeout(PATIENCE):
            while not held[0].answered:
                await asyncio.sleep(0)
        second = channel.unary_unary(ECHO)(b"x")
        await arrived.acquire()
        assert not held[1].answered
        held[1].respond(b"x")
        assert held[1].answered
        assert await second == b"x"
