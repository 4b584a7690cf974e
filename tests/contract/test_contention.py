"""Several processes want the same limit at the same time."""

import asyncio
import sys

import pytest

from tests.contract.contender import LIMIT, PROCESSES

pytestmark = [pytest.mark.redis, pytest.mark.process, pytest.mark.slow, pytest.mark.alone]


async def admitted(kind, server):
    """Of ten times the limit, tried by all processes together."""
    command = ["-m", "tests.contract.contender", kind, server.address, str(10 * LIMIT // PROCESSES)]
    contenders = [
        await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    said = await asyncio.gather(*(contender.communicate() for contender in contenders))
    assert [contender.returncode for contender in contenders] == [0] * PROCESSES
    return sum(int(out) for out, _ in said)


@pytest.mark.scenario("one hot key")
async def test_processes_together_admit_exactly_the_limit(empty):
    """4 processes with 50 connections each admit exactly N of the 10 N they try."""
    assert await admitted("sound", empty) == LIMIT


async def test_a_racy_store_fails_the_same_check(empty):
    """A store that reads and then writes admits more: the check above can fail."""
    assert await admitted("racy", empty) > LIMIT
