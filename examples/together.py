#!/usr/bin/env python3
"""Run several commands as one: Ctrl-C ends all of them, and so does the end of any.

Commands are parted by ``--``: ``python examples/together.py sleep 5 -- sleep 10``.
"""

import asyncio
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO

STOP_SECONDS = 20.0
"""For a command to end by itself; a service lets its last calls finish for 15."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, kill, and a terminal that was closed."""


class EndedError(Exception):
    """A command that was to run on has ended; says which, and its exit code."""


@asynccontextmanager
async def running(
    command: Sequence[str], output: IO[bytes] | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command beside the block, and end it with the block.

    It has a session of its own, so that a Ctrl-C at the terminal does not reach it beside the one SIGINT it gets here.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdout=output, stderr=output, env=env, start_new_session=True
    )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def until_signal() -> None:
    """Wait for one of ``SIGNALS``."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, told.set)
    await told.wait()


async def until_ended(command: Sequence[str], process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a command, which is an EndedError."""
    code = await process.wait()
    raise EndedError(f"`{shlex.join(command)}` ended with exit code {code}")


async def first(*waited: asyncio.Task[None]) -> None:
    """Wait for the first of these and drop the others; raises what it raises."""
    done, rest = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    for each in rest:
        each.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for each in done:
        each.result()


async def together(commands: Sequence[Sequence[str]]) -> None:
    """Run commands until a signal; raises EndedError when one ends before."""
    stopping = asyncio.create_task(until_signal())
    async with AsyncExitStack() as stack:
        started = [(command, await stack.enter_async_context(running(command))) for command in commands]
        await first(stopping, *(asyncio.create_task(until_ended(*each)) for each in started))


def parted(words: Sequence[str]) -> list[list[str]]:
    """Part commands at ``--``."""
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            commands.append([])
        else:
            commands[-1].append(word)
    return [command for command in commands if command]


if __name__ == "__main__":
    try:
        asyncio.run(together(parted(sys.argv[1:])))
    except (EndedError, OSError) as error:
        sys.exit(f"{error}; all others were ended")
