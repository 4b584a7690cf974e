#!/usr/bin/env python3
"""Run several commands together: Ctrl-C stops all of them, and so does the exit of any.

Commands are separated by ``--``: ``python examples/together.py sleep 5 -- sleep 10``.
"""

import asyncio
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO

STOP_SECONDS = 20.0
"""Time for a command to exit after SIGINT; the service waits up to 15 s for its last calls."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl-C, by kill, and when the terminal is closed."""


class EndedError(Exception):
    """A command exited unexpectedly; the message names it and its exit code."""


@asynccontextmanager
async def running(
    command: Sequence[str], output: IO[bytes] | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command during the block, and stop it at the end of the block.

    It runs in its own session, so that Ctrl-C at the terminal does not send it a SIGINT besides the one sent here.
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
    loop, received = asyncio.get_running_loop(), asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, received.set)
    await received.wait()


async def until_ended(command: Sequence[str], process: asyncio.subprocess.Process) -> None:
    """Wait until a command exits, then raise EndedError."""
    code = await process.wait()
    raise EndedError(f"`{shlex.join(command)}` exited with code {code}")


async def first(*waited: asyncio.Task[None]) -> None:
    """Wait for the first task to finish and cancel the others; raise the first task's exception, if any."""
    done, rest = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    for each in rest:
        each.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for each in done:
        each.result()


async def together(commands: Sequence[Sequence[str]]) -> None:
    """Run commands until a signal arrives. Raises EndedError if a command exits earlier."""
    stopping = asyncio.create_task(until_signal())
    async with AsyncExitStack() as stack:
        started = [(command, await stack.enter_async_context(running(command))) for command in commands]
        await first(stopping, *(asyncio.create_task(until_ended(*each)) for each in started))


def parted(words: Sequence[str]) -> list[list[str]]:
    """Split the arguments into commands at ``--``."""
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
        sys.exit(f"{error}; all other commands were stopped")
