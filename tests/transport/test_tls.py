"""TLS and mutual TLS on both transports, with certificates that change while they serve."""

import asyncio
import os
import ssl
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from grpc import aio

from ratelimitd.net.tls import TlsFiles
from ratelimitd.transport import Refusal
from tests.transport.servers import ECHO


def tls_files(certificates, client_ca="", client_san=""):
    return TlsFiles(certificates.cert, certificates.key, client_ca, client_san)


async def ask(server, root, identity=(None, None)):
    """One call over a connection of its own."""
    credentials = grpc.ssl_channel_credentials(root, *identity)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with aio.secure_channel(server.address, credentials, options=options) as channel:
        return await channel.unary_unary(ECHO)(b"x" * 100_000, timeout=5)


async def refused(server, root, identity=(None, None)):
    """Whether a call over a connection of its own fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await ask(server, root, identity)
    return caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)


async def test_tls_works(transport, certificates):
    """A client that trusts the certificate is served; one that speaks plaintext is not."""
    async with transport.serve(tls=tls_files(certificates)) as server:
        assert len(await ask(server, certificates.root)) == 100_000
        async with aio.insecure_channel(server.address) as channel:
            with pytest.raises(aio.AioRpcError):
                await channel.unary_unary(ECHO)(b"", timeout=2)


async def test_mutual_tls_needs_a_certificate_of_the_ca(transport, certificates, tmp_path):
    """With a client CA, a client without a certificate of it is refused."""
    stranger = type(certificates)(tmp_path)
    certificates = type(certificates)(tmp_path)
    async with transport.serve(tls=tls_files(certificates, certificates.client_ca)) as server:
        assert await ask(server, certificates.root, certificates.client("envoy"))
        assert await refused(server, certificates.root)
        assert await refused(server, certificates.root, stranger.client("envoy"))


async def test_mutual_tls_can_ask_for_a_name(transport, certificates):
    """With client_san, only a certificate that has this name will do."""
    tls = tls_files(certificates, certificates.client_ca, "envoy.mesh")
    async with transport.serve(tls=tls) as server:
        assert await ask(server, certificates.root, certificates.client("envoy.mesh"))
        assert await refused(server, certificates.root, certificates.client("other.mesh"))


@pytest.mark.parametrize("name", ["*.envoy.mesh", "Edge.Envoy.Mesh"])
async def test_a_name_is_compared_as_in_go(transport, certificates, name):
    """A certificate for a wildcard, or in capitals, is accepted, as by the service that this one replaces."""
    tls = tls_files(certificates, certificates.client_ca, "edge.envoy.mesh")
    async with transport.serve(tls=tls) as server:
        assert await ask(server, certificates.root, certificates.client(name))


async def test_a_client_of_another_name_is_told_of(transport, certificates):
    """The refusal has its reason, the client's address, and the names that its certificate has."""
    told = []
    tls = tls_files(certificates, certificates.client_ca, "envoy.mesh")
    async with transport.serve(tls=tls, refused=lambda *refusal: told.append(refusal)) as server:
        assert await refused(server, certificates.root, certificates.client("other.mesh"))
    reason, peer, found = told[0]
    assert (reason, found) == (Refusal.CERTIFICATE_NAME, "other.mesh")
    assert "127.0.0.1:" in peer


async def test_a_failed_handshake_is_told_of(fast, certificates):
    """A client without a certificate, and one that speaks plaintext, are told of with TLS' own reason."""
    told = []
    tls = tls_files(certificates, certificates.client_ca)
    async with fast.serve(tls=tls, refused=lambda *refusal: told.append(refusal)) as server:
        assert await refused(server, certificates.root)
        assert (Refusal.HANDSHAKE, "", "PEER_DID_NOT_RETURN_A_CERTIFICATE") in told
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with suppress(ConnectionResetError):
            await reader.read()
        writer.transport.abort()
        assert [reason for reason, _, _ in told] == [Refusal.HANDSHAKE] * len(told)
        assert told[-1][2] in {"HTTP_REQUEST", "WRONG_VERSION_NUMBER"}


async def test_certificates_are_read_again_when_they_change(transport, certificates):
    """A renewed certificate is served to the next connection, without a restart."""
    tls = tls_files(certificates)
    tls.look_again = 0
    async with transport.serve(tls=tls) as server:
        host, _, port = server.address.rpartition(":")

        async def served():
            context = ssl.create_default_context(cadata=certificates.root.decode())
            context.set_alpn_protocols(["h2"])
            _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
            try:
                return writer.get_extra_info("peercert")["serialNumber"]
            finally:
                writer.transport.abort()

        before = await served()
        assert before == await served()
        certificates.renew()
        assert before != await served()
        assert await ask(server, certificates.root)


def test_what_changed_for_the_worse_is_not_taken(certificates, caplog):
    """A file that cannot be used leaves the last good certificate in force and is told; the next good one is taken."""
    tls = tls_files(certificates)
    tls.look_again = 0
    good = tls.latest()
    Path(certificates.cert).write_text("nothing of use")
    assert tls.latest() is good
    assert "cannot be used" in caplog.text
    certificates.renew()
    assert tls.latest() is not good


@pytest.mark.parametrize("name", ["cert", "key", "client_ca"])
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(certificates, caplog, name):
    """At the start it is an error; later the last good files stay in force. OpenSSL would wait for a writer."""
    tls = tls_files(certificates, certificates.client_ca)
    tls.look_again = 0
    good = tls.latest()
    path = Path(getattr(certificates, name))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match=f"{path}: not a regular file"):
        tls_files(certificates, certificates.client_ca)
    assert tls.latest() is good
    assert "not a regular file" in caplog.text


def test_files_that_cannot_be_used_are_an_error_at_once(certificates):
    """The error names the file."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TlsFiles("nowhere", certificates.key)
    with pytest.raises(OSError, match="client CA"):
        TlsFiles(certificates.cert, certificates.key, certificates.key)
    with pytest.raises(OSError, match="cannot use the certificate"):
        TlsFiles(certificates.cert, certificates.client_ca)


def test_an_encrypted_key_is_an_error(certificates):
    """Nobody is asked for a password; the error says how to mend it."""
    key = load_pem_private_key(Path(certificates.key).read_bytes(), None)
    encrypted = BestAvailableEncryption(b"secret")
    Path(certificates.key).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted))
    with pytest.raises(OSError, match=f"{certificates.key}.*without a password"):
        tls_files(certificates)


async def test_h2_is_what_tls_must_speak(fast, certificates):
    """A client that does not offer h2 is closed, and told of."""
    told = []
    async with fast.serve(tls=tls_files(certificates), refused=lambda *refusal: told.append(refusal)) as server:
        host, _, port = server.address.rpartition(":")
        context = ssl.create_default_context(cadata=certificates.root.decode())
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.transport.abort()
    assert [reason for reason, _, _ in told] == [Refusal.NO_H2]
