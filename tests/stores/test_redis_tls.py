"""TLS towards Redis, and credentials that change."""

import os
from pathlib import Path

import pytest

from testkit.redis_server import redis_server
from testkit.tls_files import tls_files
from tests.contract.cases import allowed, charge
from tests.stores.test_redis_store import one

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificates of one authority; the server's is for the name localhost alone."""
    return tls_files(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="module")
def server(files):
    """A server that asks for a certificate."""
    with redis_server(tls=files, client_certificate=True) as running:
        yield running


def settings(files):
    """What they say of TLS."""
    return {
        "REDIS_TLS_CACERT": str(files.authority),
        "REDIS_TLS_CLIENT_CERT": str(files.client_certificate),
        "REDIS_TLS_CLIENT_KEY": str(files.client_key),
    }


async def test_by_name(make, server, files):
    """With our certificate and the authority, a server is talked to by the name in its certificate."""
    store = make(f"rediss://localhost:{server.port}", env=settings(files))
    assert await store.connect()
    assert allowed(await charge(store, [one()])) == [True]


async def test_another_name(make, edges, server, files):
    """A certificate for another name is refused, unless the check of names is off."""
    url = f"rediss://127.0.0.1:{server.port}"
    assert not await make(url, env=settings(files)).connect()
    assert "TLS handshake with Redis" in edges.seen[0][1]
    assert await make(url, env=settings(files) | {"REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": "true"}).connect()


async def test_a_server_without_tls(make, edges, files):
    """It does not answer a handshake, so the reason names the setting; without TLS the same server is connected."""
    with redis_server(tcp=True) as plain:
        where = f"localhost:{plain.port}"
        assert not await make(f"rediss://{where}", env=settings(files), connect_timeout=0.2).connect()
        assert "within 0.2 s (REDIS_TIMEOUT): does it speak TLS (REDIS_TLS, rediss://)?" in edges.seen[0][1]
        assert await make(where).connect()


async def test_another_authority(make, server, files, tmp_path):
    """A certificate of another authority is refused, with the check of names off too."""
    env = settings(files) | {
        "REDIS_TLS_CACERT": str(tls_files(tmp_path).authority),
        "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": "true",
    }
    assert not await make(f"rediss://localhost:{server.port}", env=env).connect()


async def test_without_a_certificate(make, server, files):
    """A server that asks for a certificate is not fooled."""
    env = {"REDIS_TLS_CACERT": str(files.authority)}
    assert not await make(f"rediss://localhost:{server.port}", env=env).connect()


async def test_a_file_that_is_not_there(make, edges, server, files):
    """A missing file is named, and its coming is noticed without a restart."""
    env = settings(files) | {"REDIS_TLS_CACERT": "/nowhere/ca.pem"}
    assert not await make(f"rediss://localhost:{server.port}", env=env).connect()
    assert "/nowhere/ca.pem" in edges.seen[0][1]


async def test_a_pipe_for_a_file(make, edges, server, files, tmp_path):
    """It is named as such; a thread that waits for a writer would be lost with each attempt to connect."""
    os.mkfifo(tmp_path / "key")
    env = settings(files) | {"REDIS_TLS_CLIENT_KEY": str(tmp_path / "key")}
    assert not await make(f"rediss://localhost:{server.port}", env=env).connect()
    assert f"not a regular file: '{tmp_path / 'key'}'" in edges.seen[0][1]


async def test_rotated_credentials(make, edges, tmp_path):
    """REDIS_AUTH_FILE is read for each connection: a new password takes effect without a restart."""
    file = tmp_path / "auth"
    file.write_text("default:old\n")
    with redis_server("--requirepass", "old") as server, server.client(password="old") as client:
        store = make(server.address, env={"REDIS_AUTH_FILE": str(file)})
        assert await store.connect()
        client.config_set("requirepass", "new")
        client.client_kill_filter(_type="normal", skipme=False)
        await edges.until(True, False)
        file.write_text("new")
        await edges.until(True, False, True)
        assert allowed(await charge(store, [one()])) == [True]


async def test_a_missing_auth_file(make, edges, tmp_path):
    """Without its file there is no guess at credentials, and the reason names the file."""
    with redis_server() as server:
        assert not await make(server.address, env={"REDIS_AUTH_FILE": str(tmp_path / "auth")}).connect()
    assert str(tmp_path / "auth") in edges.seen[0][1]


def endless(path):
    path.symlink_to("/dev/zero")


def huge(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "Is a directory"),
        (endless, "not a regular file"),
        (huge, "longer than 16384 bytes"),
        (lambda path: path.write_bytes(b"\xff"), "utf-8"),
    ],
)
async def test_what_is_no_auth_file(make, edges, tmp_path, put, why):
    """A pipe, a directory, a device or a huge file in its place prevents the connection, and blocks nothing.

    When it is a file again, the next attempt connects.
    """
    path = tmp_path / "auth"
    put(path)
    with redis_server("--requirepass", "secret") as server:
        store = make(server.address, env={"REDIS_AUTH_FILE": str(path)})
        assert not await store.connect()
        assert "cannot read the credentials" in edges.seen[0][1]
        assert why in edges.seen[0][1]
        path.rename(tmp_path / "aside")
        path.write_text("secret")
        await edges.until(False, True)
