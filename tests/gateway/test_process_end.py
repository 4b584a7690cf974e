"""The end of a proxy process: what its clients have sent by the moment of SIGTERM is answered."""

import asyncio
import os
import signal
import socket

import pytest

from tests.gateway_process import FILE, gateway, upstream
from tests.http1.rig import End, get

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
