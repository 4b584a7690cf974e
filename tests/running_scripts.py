"""Scripts of the folder scripts/, run as a terminal runs them."""

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager

from testkit.environment import bare

START_SECONDS = 120.0


class Script:
    """A running script, in a process group of its own as a terminal would start it."""

    def __init__(self, process, ports):
        self.process = process
        self.ports = ports
        self.said = ""

    async def printed(self, text):
        """Wait until it has printed this; returns all it printed."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while text not in self.said:
                line = await self.process.stdout.readline()
                assert line, f"ended without {text!r}:\n{self.said}"
                self.said += line.decode()
        return self.said

    async def ctrl_c(self):
        """Send what a terminal sends, to all of the group; returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return await self.ended()

    async def ended(self):
        async with asyncio.timeout(START_SECONDS):
            self.said += (await self.process.communicate())[0].decode()
        assert self.process.returncode is not None
        return self.process.returncode

    def listening(self):
        """Which of its ports still answer."""
        return [name for name, port in self.ports.items() if _answers(port)]


def _answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def script(name, *arguments, ports=None):
    chosen = ports or {}
    env = {name: f"127.0.0.1:{port}" if name == "LISTEN_ADDR" else str(port) for name, port in chosen.items()}
    process = await asyncio.create_subprocess_exec(
        f"scripts/{name}",
        *arguments,
        env={**bare(), "PYTHONUNBUFFERED": "1", **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    running = Script(process, chosen)
    try:
        yield running
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
            await running.ended()
