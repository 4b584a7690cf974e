"""Callers of a port on raw sockets, and what they send."""

import asyncio
import re

from ratelimitd.admin.http import PageResponse


class Caller:
    """One connection."""

    def __init__(self, reader, writer):
        self._reader = reader
        self.writer = writer

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self):
        """A head, and the body that its length or chunks announce."""
        async with asyncio.timeout(10):
            head = await self._reader.readuntil(b"\r\n\r\n")
            if length := re.search(rb"\r\nContent-Length: (\d+)", head):
                return head, await self._reader.readexactly(int(length[1]))
            return head, await self._reader.readuntil(b"0\r\n\r\n")

    async def head(self):
        async with asyncio.timeout(10):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def rest(self):
        async with asyncio.timeout(10):
            return await self._reader.read()


async def echo(request):
    return PageResponse(200, f"{request.method} {request.path} {dict(request.query)} {len(request.body)}".encode())


def get(target=b"/", *headers):
    return b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (target, b"".join(line + b"\r\n" for line in headers))


def post(body, *headers):
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body)


def chunked(body):
    """In chunks of a thousand bytes, without an end."""
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    parts = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    return head + b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in parts])
