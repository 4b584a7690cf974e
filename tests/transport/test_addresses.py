"""Where every transport listens: ports, names, both families of addresses, unix sockets."""

import socket

import pytest
from grpc import aio

from tests.transport.servers import ECHO


async def test_a_taken_port_is_an_error_at_once(transport):
    """A second server on the same port does not start, since SO_REUSEPORT would hide it."""
    async with transport.serve() as server:
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            transport.bind(port=port)


async def test_a_name_with_both_families_means_ipv4(transport, monkeypatch):
    """Whatever a resolver lists first, as for the HTTP ports; the address keeps the name."""
    families = [(socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    listed = [(family, socket.SOCK_STREAM, 6, "", where) for family, where in families]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: listed)
    async with transport.serve(host="localhost") as server:
        port = server.address.removeprefix("localhost:")
        async with aio.insecure_channel(f"ipv4:127.0.0.1:{port}") as channel:
            assert await channel.unary_unary(ECHO)(b"4") == b"4"
        socket.create_server(("::1", int(port)), family=socket.AF_INET6).close()


@pytest.mark.parametrize("host", ["", "::"])
async def test_every_address_is_both_families(transport, host):
    """An empty host and ``::`` take callers of IPv4 and of IPv6."""
    async with transport.serve(host=host) as server:
        port = server.address.rpartition(":")[2]
        for target in (f"ipv4:127.0.0.1:{port}", f"ipv6:[::1]:{port}"):
            async with aio.insecure_channel(target) as channel:
                assert await channel.unary_unary(ECHO)(b"e") == b"e"


async def test_ipv6_works(transport):
    """An IPv6 host is bracketed in the address and serves."""
    async with transport.served(host="::1") as (channel, server):
        assert server.address.startswith("[::1]:")
        assert await channel.unary_unary(ECHO)(b"6") == b"6"


async def test_a_unix_socket_works(transport, tmp_path):
    """A unix socket serves, also in place of one whose service was killed; one that is in use is an error."""
    path = str(tmp_path / "grpc.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    async with transport.served(uds=path) as (channel, server):
        assert server.address == f"unix:{path}"
        assert await channel.unary_unary(ECHO)(b"u") == b"u"
        with pytest.raises(OSError, match=f"cannot listen on unix:{path}"):
            transport.bind(uds=path)
