"""Servers of both transports, and certificates for them."""

import ssl
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import trustme
from grpc import aio

from ratelimitd.transport import Handlers
from ratelimitd.transport.grpcio import GrpcioOptions, GrpcioServer
from testkit.builds import EXTENSION

if EXTENSION:
    from ratelimitd.transport.nghttp2 import Nghttp2Options, Nghttp2Server

ECHO, STREAM = "/test.Service/Echo", "/test.Service/Stream"
MESSAGE_BOUND = 1 << 20


class Transport(NamedTuple):
    server: Any
    options: Any


TRANSPORTS = {"grpcio": Transport(GrpcioServer, GrpcioOptions(MESSAGE_BOUND, 20_000))}
if EXTENSION:
    TRANSPORTS["nghttp2"] = Transport(Nghttp2Server, Nghttp2Options(MESSAGE_BOUND, 20_000, sweep_interval=0.05))


def echo(calls):
    for call in calls:
        call.respond(call.body)


def put_into(queue):
    """A batch handler that puts each call into a queue, and answers none."""

    def put(calls):
        for call in calls:
            queue.put_nowait(call)

    return put


async def echo_stream(stream):
    async for body in stream:
        await stream.send(body)


def priced(handler, cost=1):
    """A batch handler whose calls cost so much each; ``handler`` gets those that it takes."""

    def take(calls, room):
        taken = calls[: -(-room // cost)]
        handler(taken)
        return len(taken), len(taken) * cost

    return take


class Bench:
    """Starts servers of one transport."""

    def __init__(self, transport):
        self.name = transport
        self.options = TRANSPORTS[transport].options

    def bind(self, unary=None, stream=None, *, host="127.0.0.1", port=0, options=None, cost=1, **more):
        handlers = Handlers({ECHO: priced(unary or echo, cost)}, {STREAM: stream or echo_stream})
        return TRANSPORTS[self.name].server(host, port, handlers, options or self.options, **more)

    @asynccontextmanager
    async def serve(self, unary=None, stream=None, **more):
        server = self.bind(unary, stream, **more)
        await server.start()
        try:
            yield server
        finally:
            await server.stop(0)

    @asynccontextmanager
    async def served(self, unary=None, stream=None, channel_options=(), **more):
        """A server with these handlers and a channel to it."""
        async with self.serve(unary, stream, **more) as server:
            channel_options = [("grpc.max_receive_message_length", -1), *channel_options]
            async with aio.insecure_channel(server.address, options=channel_options) as channel:
                yield channel, server


class Certificates:
    """A certificate authority, and files of what it signs."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = trustme.CA()
        self.root = self.ca.cert_pem.bytes()
        self.cert, self.key, self.client_ca = (str(folder / name) for name in ("cert.pem", "key.pem", "ca.pem"))
        self.ca.cert_pem.write_to_path(self.client_ca)
        self.renew()

    def renew(self):
        """Write a new server certificate over the old one."""
        issued = self.ca.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.key)
        (self.folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))

    def trust(self):
        """A context of a client that speaks HTTP/2 and trusts the authority."""
        context = ssl.create_default_context(cafile=self.client_ca)
        context.set_alpn_protocols(["h2"])
        return context

    def client(self, name):
        """Key and chain of a client."""
        issued = self.ca.issue_cert(name)
        return issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
