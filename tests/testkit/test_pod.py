"""The parts of a pod: volumes of the kubelet, what the Dockerfile says, and TLS 1.3 in front of a server."""

import asyncio
import contextlib
import ssl

from testkit.pod import entry_point, image_environment, volume
from testkit.redis_server import free_port
from testkit.tls_files import tls_files
from testkit.tls_front import tls_front


def test_a_volume_is_replaced_by_one_link(tmp_path):
    """Names lead through ..data, so a change of all files is one rename, and what was open stays as it was."""
    folder = volume(tmp_path / "config", {"a": "1", "b": b"2"})
    first = (folder / "..data").readlink()
    with (folder / "a").open() as opened:
        volume(folder, {"a": "3", "b": "4"})
        assert opened.read() == "1"
    assert [(folder / name).read_text() for name in "ab"] == ["3", "4"]
    assert (folder / "..data").readlink() != first
    assert str((folder / "a").readlink()) == "..data/a"


def test_the_image_is_read_from_its_dockerfile():
    """Its entry point, and its variables with the PATH of the base image behind its own."""
    assert entry_point() == ("/opt/ratelimitd/bin/ratelimitd",)
    found = image_environment()
    assert found["PATH"].startswith("/opt/ratelimitd/bin:/usr/")
    assert (found["DEBUG_HOST"], found["PYTHONUNBUFFERED"]) == ("0.0.0.0", "1")


def client(files, certificate=True, newest=ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=str(files.authority))
    context.maximum_version = newest
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(files.client_certificate, files.client_key)
    return context


async def echoed(port, context):
    """What comes back of a line."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    writer.write(b"line\n")
    try:
        return await reader.readline()
    finally:
        writer.transport.abort()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()


async def refused(port, context):
    """Whether nothing comes back; with TLS 1.3 a client learns that after its own handshake."""
    try:
        return await echoed(port, context) == b""
    except (ssl.SSLError, ConnectionError):
        return True


async def test_tls_is_1_3_alone_and_requires_a_certificate(tmp_path):
    """As Envoy Gateway's control plane: an older client and one without a certificate get nothing."""

    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    files = tls_files(tmp_path)
    port = free_port()
    own = str(files.server_certificate), str(files.server_key), str(files.authority)
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        to = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with tls_front(port, to, *own) as seen:
            assert await echoed(port, client(files)) == b"line\n"
            assert [(each.version(), each.selected_alpn_protocol()) for each in seen] == [("TLSv1.3", "h2")]
            assert await refused(port, client(files, newest=ssl.TLSVersion.TLSv1_2))
            assert await refused(port, client(files, certificate=False))
            assert len(seen) == 1
