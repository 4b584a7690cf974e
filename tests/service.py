"""A real ratelimitd process for tests: started on free ports, its log read, its end awaited."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import Any

from ratelimitd.admin.guard import loopback
from testkit.environment import STORE_BUDGET, bare

START_SECONDS = 120.0

END_SECONDS = 5.0
"""A service that does not react to signals is stopped, or holds its event loop."""


def has_ipv6():
    """Whether this host has ::1, which a kernel that knows IPv6 may lack."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def outer_address():
    """An address of this host that is not its loopback; "" when it has none. Connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return "" if loopback(found := probe.getsockname()[0]) else found


async def _nothing():
    for line in ():
        yield line


class Service:
    """A running ``ratelimitd serve``."""

    def __init__(self, process):
        self.process = process
        self.log: list[dict[str, Any]] = []
        self.text = ""
        self._grown = asyncio.Condition()
        self.output = ""
        self._readers = [asyncio.create_task(self._read()), asyncio.create_task(self._read_output())]
        self.grpc = self.http = self.debug = ""

    async def _read(self):
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._grown:
                self.text += line.decode()
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.log.append({"@message": line.decode().strip()})
                self._grown.notify_all()
        async with self._grown:
            self.log.append({"@message": "END"})
            self._grown.notify_all()

    async def _read_output(self):
        async for line in self.process.stdout or _nothing():
            self.output += line.decode()

    async def logged(self, message, after=0):
        """Wait for a log line whose message contains this; fails when the process ends without it."""

        def found():
            for record in self.log[after:]:
                if message in str(record.get("@message", "")):
                    return record
            return None

        async with asyncio.timeout(START_SECONDS), self._grown:
            while (record := found()) is None:
                assert self.log[-1:] != [{"@message": "END"}], f"ended without {message!r}:\n{self.text}"
                await self._grown.wait()
            return record

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    async def end(self):
        """End it at once if it still runs: by two signals, so that it can save its coverage, else by SIGKILL."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()

    async def ended(self):
        async with asyncio.timeout(START_SECONDS):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code


@asynccontextmanager
async def service(*arguments, env=None, ready=True, command="serve", stdout=asyncio.subprocess.PIPE, files=0, cwd=None):
    """Run the service on free ports; unless ``env`` says otherwise it drains at once and waits long for its store.

    A variable of ``env`` that is None is unset. ``files`` is the hard limit of open files; 0: that of the tests.
    ``cwd`` is a folder with another version of the package.
    """
    own = {
        **bare(),
        "HOST": "127.0.0.1",
        "DEBUG_HOST": "127.0.0.1",
        "GRPC_HOST": "127.0.0.1",
        "PORT": "0",
        "DEBUG_PORT": "0",
        "GRPC_PORT": "0",
        "DRAIN_DELAY": "0",
        "GRACEFUL_SHUTDOWN_TIMEOUT": "5",
        "LOG_FORMAT": "json",
        "STORE_BUDGET": STORE_BUDGET,
    }
    limited = ("sh", "-c", 'ulimit -n "$0" && exec "$@"', str(files)) if files else ()
    process = await asyncio.create_subprocess_exec(
        *limited,
        sys.executable,
        "-X",
        "dev",
        "-W",
        "error::ResourceWarning",
        "-m",
        "ratelimitd",
        command,
        *arguments,
        env={name: value for name, value in {**own, **(env or {})}.items() if value is not None},
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
    )
    running = Service(process)
    try:
        if ready:
            record = await running.logged("serving")
            running.grpc, running.http, running.debug = record["grpc"], record["http"], record["debug"]
        yield running
    finally:
        await running.end()
