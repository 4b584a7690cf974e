"""The proxy as a process: where it listens, and which connections it takes of one client."""

import asyncio
import json
import ssl
from contextlib import suppress

import aiohttp
import pytest
import trustme

from tests.gateway_process import FILE, gateway, statuses, upstream
from tests.http1.rig import ScriptedUpstream, until
from tests.http1.test_fairness import answer_heads
from tests.service import has_ipv6, service

pytestmark = pytest.mark.process


async def test_it_listens_where_its_file_says(tmp_path):
    """``listen`` is the listener's address where LISTEN_ADDR is not set."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=2, policy="error").replace("127.0.0.1:1", "localhost:0"))
        async with service("--config", str(file), ready=False, command="proxy") as running:
            address = (await running.logged("serving"))["proxy"]
            async with aiohttp.ClientSession() as client:
                assert await statuses(client, 1, f"http://{address}/api/x") == [200]
    assert address.startswith("localhost:")


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("by", ["LISTEN_ADDR", "listen"])
async def test_a_port_without_a_host_is_both_families(tmp_path, by):
    """Of the listener and of ``admin.port``; a client over IPv4 is IPv4 to the upstream, to limits and in the log."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _), aiohttp.ClientSession() as client:
        text = FILE.format(url=url, limit=9, policy="error").replace("127.0.0.1:1", ":0") + "admin: {port: 0}\n"
        file.write_text(text)
        env = {"LISTEN_ADDR": ":0" if by == "LISTEN_ADDR" else ""}
        async with gateway("--config", str(file), env=env) as running:
            serving = await running.logged("serving")
            port, admin = (serving[name].rpartition(":")[2] for name in ("proxy", "admin"))
            for host, address in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")):
                async with client.get(f"http://{host}:{admin}/healthz") as page:
                    assert page.status == 200
                async with client.get(f"http://{host}:{port}/api/x") as answer:
                    headers = (await answer.json())["headers"]
                node = address if host == address else f'"{host}"'
                assert headers["X-Forwarded-For"] == address
                assert headers["Forwarded"].startswith(f"for={node};")
    assert serving["proxy"].startswith(":")
    assert [json.loads(line)["client"] for line in running.output.splitlines()] == ["127.0.0.1", "::1"]


async def test_a_trusted_proxy_has_as_many_connections_as_it_needs(tmp_path):
    """``max_connections_per_address`` holds for other peers alone, after a reload too."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        text = FILE.format(url=url, limit=99, policy="error") + "limits: {max_connections_per_address: 1}\n"
        file.write_text(text + "trusted_proxies: [127.0.0.1]\n")
        async with gateway("--config", str(file)) as running:
            host, port = running.proxy.split(":")
            for trusted in (True, False):
                if not trusted:
                    known = len(running.log)
                    file.write_text(text)
                    await running.logged("policy loaded", known)
                pairs = [await asyncio.open_connection(host, port) for _ in range(3)]
                heads = []
                for reader, writer in pairs:
                    with suppress(ConnectionError):
                        writer.write(b"GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n")
                        heads.append((await reader.readuntil(b"\r\n"))[9:12])
                for _, writer in pairs:
                    writer.close()
                assert heads == ([b"200"] * 3 if trusted else [b"200", b"503", b"503"])


async def test_a_client_with_slow_uploads_leaves_connections_to_others(tmp_path):
    """By the address of the client behind a trusted proxy; otherwise all would be one client."""
    file, app = tmp_path / "gateway.yaml", ScriptedUpstream()
    app.serve(answer_heads)
    await app.start()
    text = FILE.format(url=f"http://127.0.0.1:{app.port}", limit=99, policy="error")
    text = text.replace(f'{app.port}"', f'{app.port}", max_connections: 4') + "trusted_proxies: [127.0.0.1]\n"
    file.write_text(text)
    async with gateway("--config", str(file)) as running, aiohttp.ClientSession() as client:
        host, port = running.proxy.split(":")
        pairs = [await asyncio.open_connection(host, port) for _ in range(8)]
        for _, writer in pairs:
            writer.write(b"POST /api/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 9\r\n\r\nx")
        await until(lambda: app.connections == 2, every=0.01)
        for number in (2, 3, 4):
            forwarded = {"X-Forwarded-For": f"192.0.2.{number}"}
            assert await statuses(client, 1, f"http://{running.proxy}/api/x", **forwarded) == [200]
        for _, writer in pairs:
            writer.close()
    await app.stop()


async def test_it_speaks_tls_with_the_certificate_of_its_file(tmp_path):
    """``tls.cert`` and ``tls.key`` are files relative to the gateway file; a client without TLS gets no answer."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=2, policy="error") + "tls: {cert: cert.pem, key: key.pem}\n")
        async with gateway("--config", str(file)) as running, aiohttp.ClientSession() as client:
            port = running.proxy.rpartition(":")[2]
            async with client.get(f"https://localhost:{port}/api/x", ssl=trusting) as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientError):
                await statuses(client, 1, f"http://localhost:{port}/api/x")
