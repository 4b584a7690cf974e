"""A debug port with documents that a test chooses, and programs in a terminal of their own."""

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from contextlib import asynccontextmanager
from pathlib import Path

from ratelimitd.admin import listen
from ratelimitd.admin.http import Access, Page, PageResponse
from testkit.environment import bare

HOME = b"\x1b[H"
"""What a frame begins with."""

ROOT = Path(__file__).parents[2]


class Served:
    """Documents by path, as values or as functions of the query; ``asked`` has the questions."""

    def __init__(self, documents):
        self.documents = documents
        self.asked = []
        self.tokens = []
        self.address = ""

    async def page(self, request):
        self.asked.append((request.path.removeprefix("/live/"), dict(request.query)))
        self.tokens.append(request.headers.get("Authorization", ""))
        found = self.documents.get(request.path.removeprefix("/live/"))
        found = found(request.query) if callable(found) else found
        if isinstance(found, PageResponse):
            return found
        if found is None:
            return PageResponse(404, b'{"error": "there is no such page"}')
        return PageResponse(200, json.dumps(found).encode(), "application/json")


@asynccontextmanager
async def live(**documents):
    """Serve documents by the names of their paths on a debug port."""
    served = Served(documents)
    listener = await listen({"/": Page(served.page, "", Access.OPEN)}, "127.0.0.1", 0)
    served.address = listener.address
    try:
        yield served
    finally:
        await listener.close()


def stream(*events, then=None):
    """Return a response of server-sent events; it ends after them, or when ``then``, an event of asyncio, is set."""

    async def pieces():
        yield b":\n\n"
        for name, data in events:
            yield f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
        if then is not None:
            await then.wait()

    return PageResponse(200, pieces(), "text/event-stream")


def environment(**more):
    return {**bare(), "TERM": "xterm-256color", "TZ": "UTC", "PYTHONPATH": str(ROOT), **more}


async def run(*words, **env):
    """Run a command to its end; return the exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ratelimitd", *words, env=environment(**env),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, command, columns=80, lines=24, **env):
        self.master, self._slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._slave)
        self.written = b""
        self._wrote = asyncio.Event()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=self._slave, stdout=self._slave, stderr=self._slave,
            env=environment(**env),
        )  # fmt: skip
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def resize(self, columns, lines):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys.encode())

    @property
    def attributes(self):
        """The settings of the terminal, as another program finds them."""
        return termios.tcgetattr(self._slave)

    @property
    def screen(self):
        """The lines of the last frame that is complete, as another follows it; without colours."""
        end = self.written.rfind(HOME)
        frame = self.written[self.written.rfind(HOME, 0, max(end, 0)) : end].decode()
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame).replace("\r", "").split("\n")

    @property
    def text(self):
        return "\n".join(self.screen)

    async def shows(self, *texts, hides=()):
        """Wait until the screen has all of these texts, and none of ``hides``."""
        async with asyncio.timeout(60):
            while any(text not in self.text for text in texts) or any(text in self.text for text in hides):
                await self._more()

    async def wrote(self, data):
        """Wait until this was written."""
        async with asyncio.timeout(60):
            while data not in self.written:
                await self._more()

    async def stopped(self):
        """Wait until it has stopped, as by SIGSTOP."""
        await asyncio.to_thread(os.waitid, os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    async def ended(self):
        """Wait for the end; return the exit code."""
        async with asyncio.timeout(60):
            return await asyncio.to_thread(self.process.wait)

    def close(self):
        asyncio.get_running_loop().remove_reader(self.master)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
        os.close(self._slave)

    async def _more(self):
        self._wrote.clear()
        await self._wrote.wait()

    def _read(self):
        self.written += os.read(self.master, 1 << 16)
        self._wrote.set()
