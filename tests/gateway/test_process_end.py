"""The end of a proxy process: what its clients have sent by the moment of SIGTERM is answered."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from testkit.environment import bare
from testkit.redis_server import free_port
from tests.gateway_process import FILE, gateway, upstream
from tests.http1.rig import PATIENCE, End, get

pytestmark = pytest.mark.process

NEW = 40


async def test_sigterm_resets_no_request(tmp_path):
    """The process is stopped meanwhile, so that all comes at once: requests, new connections and the signal."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=100_000, policy="error"))
        async with gateway("--config", str(file), env={"DRAIN_DELAY": "0s"}) as running:
            host, port = running.proxy.split(":")
            kept = [End(*await asyncio.open_connection(host, port)) for _ in range(NEW)]
            for client in kept:
                assert (await client.ask(get(b"/api/x")))[0].startswith(b"HTTP/1.1 200 ")
            os.kill(running.process.pid, signal.SIGSTOP)
            made = [socket.create_connection((host, int(port))) for _ in range(NEW)]
            for sock in [*made, *(client.writer.get_extra_info("socket") for client in kept)]:
                os.write(sock.fileno(), get(b"/api/x"))
            running.terminate()
            os.kill(running.process.pid, signal.SIGCONT)
            for sock in made:
                sock.setblocking(False)
            clients = kept + [End(*await asyncio.open_connection(sock=sock)) for sock in made]
            for client in clients:
                head, _ = await client.answer()
                assert head.startswith(b"HTTP/1.1 200 ")
            for client in clients:
                client.close()
            assert await running.ended() == 0


async def test_a_process_without_stdout_ends_as_any_other(tmp_path):
    """A parent may close the standard descriptors: none becomes a file of the event loop."""
    file, port = tmp_path / "gateway.yaml", free_port()
    file.write_text(FILE.format(url="http://127.0.0.1:1", limit=1, policy="error"))
    command = [sys.executable, "-m", "ratelimitd", "proxy", "--config", str(file)]
    env = {**bare(), "LISTEN_ADDR": f"127.0.0.1:{port}", "DRAIN_DELAY": "0"}
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    process = await asyncio.create_subprocess_exec(*closing, *command, env=env, stdout=subprocess.DEVNULL)
    async with asyncio.timeout(PATIENCE):
        answered = False
        while not answered and process.returncode is None:
            with suppress(OSError, asyncio.IncompleteReadError):
                client = End(*await asyncio.open_connection("127.0.0.1", port))
                answered = b" 200 " in (await client.ask(get(b"/readyz")))[0]
                client.close()
        process.terminate()
        assert await process.wait() == 0
