"""How a control plane is connected to: TLS, peers that are dead or silent, and the waits between attempts."""

import asyncio
import os
import socket
import ssl
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from ratelimitd.sources.xds import Backoff, ControlPlane, TlsFiles
from ratelimitd.sources.xds.edges import MINUTE, Edges
from ratelimitd.sources.xds.options import CONNECT_SECONDS, PING_SECONDS, Pauses
from ratelimitd.sources.xds.protocol import TEXT_MOST, Request
from ratelimitd.sources.xds.stream import open_stream
from testkit.control_plane import config, control_plane, credentials
from testkit.fault_proxy import Way, fault_proxy
from testkit.redis_server import free_port
from testkit.tls_files import tls_files
from tests.sources.xds.following import following, until


def client(files, *, certificate=True, name=""):
    """The client's TLS for the files of ``tls_files``."""
    pair = (str(files.client_certificate), str(files.client_key)) if certificate else ("", "")
    return TlsFiles(str(files.authority), *pair, name)


async def followed_to(plane, tls):
    """Push a policy and wait until a client with this TLS has it."""
    plane.push("1", config("r"))
    async with following(plane.address, tls=tls) as followed:
        await until(lambda: followed.accepted)


async def refused(plane, tls):
    """The reason why a client with this TLS gets no connection."""
    async with following(plane.address, tls=tls) as followed:
        await until(lambda: followed.state.since)
        assert not followed.state.connected
        return followed.state.reason


async def test_tls(tmp_path):
    """The CA of the settings is trusted besides those of the system."""
    files = tls_files(tmp_path)
    async with control_plane(credentials(files)) as plane:
        await followed_to(plane, client(files, certificate=False))
        assert "CERTIFICATE_VERIFY_FAILED" in await refused(plane, TlsFiles())
        assert len(plane.streams) == 1


async def test_the_systems_roots_are_trusted(tmp_path, monkeypatch):
    """Without a CA of the settings, and with one that is of no use here."""
    files = tls_files(tmp_path)
    (tmp_path / "other").mkdir()
    other = tls_files(tmp_path / "other")
    monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(files.authority))
    async with control_plane(credentials(files)) as plane:
        await followed_to(plane, TlsFiles())
        await followed_to(plane, TlsFiles(str(other.authority)))


async def test_mutual_tls(tmp_path):
    """A client without a certificate is refused by the control plane."""
    files = tls_files(tmp_path)
    async with control_plane(credentials(files, client=True)) as plane:
        await followed_to(plane, client(files))
        async with following(plane.address, tls=client(files, certificate=False)) as followed:
            await until(lambda: followed.state.reason.count(" ") > 2)
            assert len(plane.streams) == 1


async def test_the_name_of_the_certificate(tmp_path):
    """It is that of the address, or CONFIG_GRPC_XDS_SERVER_TLS_SAN's."""
    files = tls_files(tmp_path, "control.example")
    async with control_plane(credentials(files)) as plane:
        await followed_to(plane, client(files, name="control.example"))
        assert "Hostname Verification Check failed" in await refused(plane, client(files))


async def test_rotated_certificates_are_read_at_the_next_connection(tmp_path):
    """Authority, certificates and keys are replaced under their names; no restart is needed."""
    port, files = free_port(), tls_files(tmp_path)
    async with following(f"localhost:{port}", tls=client(files)) as followed:
        async with control_plane(credentials(files, client=True), port) as plane:
            plane.push("1", config("r"))
            await plane.acked("1")
        tls_files(tmp_path)
        async with control_plane(credentials(files, client=True), port) as plane:
            plane.push("2", config("s"))
            await plane.acked("2")
        assert followed.loaded == ["1", "2"]


async def test_files_that_cannot_be_used_are_named_until_they_can(tmp_path):
    """A file that is missing, or no PEM, is the reason of a connection that is not made; others are tried again."""
    files = tls_files(tmp_path)
    key = files.client_key.read_bytes()
    async with control_plane(credentials(files, client=True)) as plane:
        plane.push("1", config("r"))
        files.client_key.unlink()
        async with following(plane.address, tls=client(files)) as followed:
            await until(lambda: followed.state.reason == f"{files.client_key}: No such file or directory")
            files.client_key.write_text("no key")
            await until(lambda: f"with the key {files.client_key}" in followed.state.reason)
            files.client_key.write_bytes(key)
            await plane.acked("1")
    files.authority.write_text("nothing")
    assert await refused(plane, client(files)) == f"cannot use the CA {files.authority}: it has no certificate in PEM"


def sockets_to(port):
    """The sockets of this process that are connected to this port."""
    for path in Path("/proc/self/fd").iterdir():
        try:
            found = socket.socket(fileno=os.dup(int(path.name)))
        except OSError:
            continue
        with found:
            try:
                if found.getpeername()[1] == port:
                    yield found
            except (OSError, IndexError, TypeError):
                continue


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="a socket option of Linux")
async def test_what_is_sent_to_a_dead_control_plane_is_not_waited_for_long():
    """The kernel gives the connection up after 20 s without an acknowledgement (TCP_USER_TIMEOUT)."""
    async with control_plane() as plane, following(plane.address):
        await plane.until(lambda plane: plane.requests)
        port = int(plane.address.rpartition(":")[2])
        (timeout,) = {each.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for each in sockets_to(port)}
        assert timeout == CONNECT_SECONDS * 1000


def test_pings_are_rare_enough_for_servers():
    """They close a connection that pings more often than every 5 minutes (GOAWAY too_many_pings)."""
    assert PING_SECONDS > 300


@pytest.mark.scenario("a control plane is lost, silent or restarted")
async def test_a_connection_on_which_nothing_comes_through_is_given_up():
    """A ping on the idle connection finds it."""
    async with control_plane() as plane:
        with fault_proxy(plane.address.replace("localhost", "127.0.0.1")) as proxy:
            async with following(proxy.address, ping=0.3, connect=0.3) as followed:
                await plane.until(lambda plane: plane.requests)
                proxy.set(requests=Way(drop=True), replies=Way(drop=True))
                await until(lambda: not followed.state.connected)
                proxy.heal()
                await plane.until(lambda plane: len(plane.streams) > 1)


async def test_a_peer_that_accepts_and_says_nothing_is_given_up():
    """As one that does not answer at all; the reason says for how long."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with following(f"127.0.0.1:{silent.getsockname()[1]}", connect=0.2) as followed:
            await until(lambda: followed.state.since)
            assert followed.state.reason
            assert not followed.state.connected


async def test_a_request_that_is_not_read_ends_with_its_stream():
    """Its sender goes on: a write is waited for by whoever answers the next stream, too."""
    async with control_plane() as plane:
        plane.deaf = True

        sent = [0]

        async def flood(stream):
            for number in range(1_000):
                await stream.send(Request(error="e" * TEXT_MOST))
                sent.append(number)

        async with open_stream(ControlPlane(plane.address)) as stream:
            sending = asyncio.create_task(flood(stream))
            while len(sent) == 1 or sent[-1] != sent[0]:  # until one waits
                sent[0] = sent[-1]
                await asyncio.sleep(0.2)
            assert not sending.done()
        await sending


UPSTREAM = Backoff()


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (UPSTREAM._replace(jitter=False), [10, 10, 10]),
        (UPSTREAM._replace(jitter=False, factor=2), [10, 20, 40, 60, 60]),
        (UPSTREAM._replace(jitter=False, factor=2, most=5), [10, 10]),
        (UPSTREAM._replace(jitter=False, factor=1000, most=1e9), [10, 10_000, 1e7, 1e9]),
    ],
)
def test_waits_after_a_loss(backoff, waits):
    """The factor multiplies, as envoyproxy/ratelimit has it; what is accepted begins anew, which it does not there."""
    pauses = Pauses(backoff)
    assert [pauses.after_loss() for _ in waits] == waits
    pauses.accepted()
    assert pauses.after_loss() == waits[0]


def test_waits_are_spread():
    """Many services that lost one control plane do not come back to it at once."""
    for drawn, loss, failure in ((0.0, 5.0, 1.5), (1.0, 10.0, 4.5)):
        pauses = Pauses(UPSTREAM, lambda drawn=drawn: drawn)
        assert (pauses.after_loss(), pauses.after_failure()) == (loss, failure)


def test_no_setting_makes_a_loop_of_connections():
    """A wait of nothing is 0.1 s."""
    for jitter in (True, False):
        pauses = Pauses(Backoff(retry=0, first=0, jitter=jitter))
        assert (pauses.after_loss(), pauses.after_failure()) == (0.1, 0.1)


async def test_a_fault_of_the_client_is_not_its_end():
    """It is told as the reason that there is no connection, and the next one is tried."""
    async with control_plane() as plane, following(plane.address, node_metadata=(("site", "\udcfc"),)) as followed:
        await until(lambda: len(plane.streams) >= 2)
        assert followed.state.reason.startswith("UnicodeEncodeError: ")


def edges(*events):
    """The lines of these events."""
    told = Edges("c:1")
    with capture_logs() as lines:
        for event in events:
            event(told)
    return [line["event"] for line in lines]


def up(at):
    return lambda told: told.opened(at)


def heard(told):
    told.heard()


def lost(at, *, connected=True):
    return lambda told: told.lost("why", at, connected=connected)


DOWN, UP, FAILED, STILL = (
    "control plane lost",
    "control plane connected",
    "control plane cannot be reached",
    "control plane still not reached",
)


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        ((up(0), heard, heard, lost(1), lost(2, connected=False), up(3), heard), [UP, DOWN, UP]),
        ((lost(0, connected=False), lost(1, connected=False), up(2)), [FAILED, UP]),
        ((lost(0, connected=False), lost(MINUTE, connected=False), lost(MINUTE + 1, connected=False)), [FAILED, STILL]),
        ((up(0), lost(1), up(2), lost(3), up(4), lost(5)), [UP, DOWN]),
        ((up(0), lost(1), up(2), heard), [UP, DOWN, UP]),
        ((up(0), lost(MINUTE), up(MINUTE)), [UP, DOWN, UP]),
    ],
)
def test_lines_of_the_log(events, lines):
    """One an edge; a control plane that ends each connection without a response is lost all the while."""
    assert edges(*events) == lines


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED])
async def test_the_status_of_a_stream_is_its_reason(code):
    """With the server's text."""
    async with control_plane() as plane, following(plane.address, backoff=Backoff(first=3600)) as followed:
        await plane.until(lambda plane: plane.requests)
        plane.end(code)
        await until(lambda: not followed.state.connected)
        assert followed.state.reason == f"the control plane ended the stream with {code.name}: as the test asks"
