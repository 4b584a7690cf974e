"""TLS in front of a plaintext server, for what gRPC's own Python server has no option for: TLS 1.3 alone."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

BLOCK = 65536


@asynccontextmanager
async def tls_front(port: int, to: str, certificate: str, key: str, authority: str) -> AsyncIterator[list[Any]]:
    """Serve TLS 1.3 with ALPN h2 at a port, for clients with a certificate of the authority; pass all on to ``to``.

    Yields the ``ssl_object`` of each connection so far.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[Any] = []
    host, _, there = to.rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object"))
        other_reader, other_writer = await asyncio.open_connection(host, int(there))
        both = _copy(reader, other_writer), _copy(other_reader, writer)
        await asyncio.gather(*both)

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    async with server:
        yield seen


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
    writer.close()
