"""The gateway file, as the process reads it, and what a reload does to the requests that began before."""

import os

import pytest

from ratelimitd.app.gateway_files import read
from ratelimitd.policy import PolicyErrors
from tests.app.proxying import application, proxying
from tests.http1.rig import OK, ScriptedUpstream, get, until


async def test_a_request_keeps_the_upstream_it_began_with(tmp_path):
    """After a reload, the old upstream serves the request in flight and the one that waits; the next is the new one's.

    Then its connection is closed.
    """
    old = await ScriptedUpstream().start()
    before = {"url": f"http://127.0.0.1:{old.port}", "max_connections": 1}
    try:
        async with application("new") as url, proxying(tmp_path, upstreams={"app": before}) as front:
            first, second = await front.client(), await front.client()
            await first.send(get(b"/first"))
            end = await old.accept()
            await end.until()
            await second.send(get(b"/second"))
            await until(lambda: "1 waiting" in repr(front.files.upstreams["app"]))
            await front.reload(upstreams={"app": {"url": url}})
            assert b"new GET /third" in (await front.ask(get(b"/third")))[1]
            await end.send(OK)
            assert (await first.answer())[1] == b"ok"
            assert (await end.until()).startswith(b"GET /second ")
            await end.send(OK)
            assert (await second.answer())[1] == b"ok"
            await end.closed()
    finally:
        await old.stop()


async def test_a_pipe_for_a_gateway_file(tmp_path):
    """It is an error of the file; a thread that waits for a writer would be lost with each reload."""
    path = tmp_path / "gateway.yaml"
    os.mkfifo(path)
    with pytest.raises(PolicyErrors, match=f"{path}: cannot be read: not a regular file"):
        await read(str(path))
