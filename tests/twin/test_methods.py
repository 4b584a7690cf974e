"""Methods that are not registered are forwarded by both, or by neither."""

import asyncio
import json

import pytest

from tests.http1.rig import End, ScriptedUpstream

from .twins import twins

pytestmark = [pytest.mark.envoy, pytest.mark.process, pytest.mark.slow]


@pytest.mark.parametrize(("limits", "statuses"), [({"methods": "any"}, {200}), ({}, {400, 501})])
async def test_other_methods_are_forwarded_where_the_file_says_so(tmp_path, limits, statuses):
    """``methods: any``; else each refuses them, with a status of its own."""
    upstream, seen = ScriptedUpstream(), []

    async def answer(reader, writer):
        seen.append((await reader.readuntil(b"\r\n\r\n")).partition(b" ")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    upstream.serve(answer)
    await upstream.start()
    policy = {"domain": "d", "descriptors": []}
    app = {"url": f"http://127.0.0.1:{upstream.port}"}
    gateway = {"listen": "127.0.0.1:0", "upstreams": {"app": app}, "routes": [{}], "policies": "policy.yaml"}
    for name, content in (("policy.yaml", policy), ("gateway.yaml", {**gateway, "limits": limits})):
        (tmp_path / name).write_text(json.dumps(content))
    async with twins(tmp_path / "gateway.yaml", tmp_path / "policy.yaml", tmp_path, [{}, {}]) as urls:
        found = []
        for url in urls:
            host, _, port = url.rpartition("/")[2].rpartition(":")
            end = End(*await asyncio.open_connection(host, int(port)))
            head = await end.ask(b"BREW /a HTTP/1.1\r\nHost: a\r\n\r\n")
            found.append(int(head[0].split()[1]))
            end.close()
    await upstream.stop()
    assert set(found) <= statuses
    assert seen == ([b"BREW"] * 2 if limits else [])
