"""Which failures shut an upstream for others, and how soon it is back; with default options where a test has none."""

import asyncio
import errno
import os
import re
import resource
import socket
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ratelimitd.http1 import BalanceOptions, BreakerOptions, Endpoint, ServerOptions, State, UpstreamOptions
from tests.http1.rig import OK, PATIENCE, ScriptedUpstream, endpoint, forwarded, get, post

MANY = 12
"""Failures in a row; the default of ``consecutive`` is 5."""
SOON = 0.05


def status(head):
    return int(head.split()[1])


async def ask(rig, data=None):
    """The status of one request on a connection of its own."""
    client = await rig.client()
    head, _ = await client.ask(data or get())
    client.close()
    return status(head)


def reserved():
    """A socket bound to a port on which nothing listens, so that it refuses connections."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


async def refused(rig):
    """The upstream refuses until its circuit breaker is open."""
    while rig.upstream.state is not State.OPEN:
        assert await ask(rig) == 502


@pytest.fixture
async def listening():
    """Has the port of a socket listen again, with an upstream that the test scripts, until the test ends."""
    backs = []

    async def listen(sock):
        port = sock.getsockname()[1]
        sock.close()
        backs.append(await ScriptedUpstream().start(port))
        return backs[-1]

    yield listen
    for back in backs:
        await back.stop()


def pages(**bad):
    """An upstream whose pages are bytes, and OK for all others; a connection has one request."""

    async def serve(reader, writer):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            page = re.match(rb"\w+ /(\w*)", head)[1].decode()
            if page == "hangs":
                await reader.read()
            else:
                writer.write(bad.get(page, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
        writer.close()

    return serve


BAD = {
    "gone": b"",
    "hangs": b"",
    "control": b"HTTP/1.1 200 OK\r\nX: \x01\r\n\r\n",
    "large": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 17) + b"\r\n\r\n",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "half": b"HTTP/1.1 20",
    **{f"s{code}": b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % code for code in (500, 502, 503, 504)},
}


@pytest.mark.parametrize("page", BAD)
async def test_a_page_that_fails_leaves_the_others_alone(rigs, upstream, page):
    """However often one client asks for it, and whether or not another page was answered since: all others are 200."""
    upstream.serve(pages(**BAD))
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(response_timeout=SOON * 4))
    statuses = []
    for among in (MANY, 2, 2, 2):
        for _ in range(among):
            client = await rig.client()
            await client.send(get(b"/" + page.encode(), b"Connection: close"))
            await client.rest()
        statuses.append(await ask(rig))
    assert statuses == [200] * 4


async def test_pages_that_hang_leave_the_others_alone(rigs, upstream):
    """While requests to such a page are under way, after others like them failed, another page is 200."""
    upstream.serve(pages(**BAD))
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(response_timeout=SOON))
    for _ in range(MANY):
        assert await ask(rig, get(b"/hangs")) == 504
    clients = [await rig.client() for _ in range(BreakerOptions().probes - 1)]
    for client in clients:
        await client.send(get(b"/hangs"))
    assert await ask(rig) == 200


GRANTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADE = get(
    b"/", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: a"
)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "response"), [(UPGRADE, GRANTED), (get(), STREAM), (get(), b"")], ids=["socket", "events", "poll"]
)
@pytest.mark.parametrize("fault", ["refuses", "closes"])
async def test_a_first_request_that_lasts_locks_no_other_out(rigs, listening, upstream, fault, request_, response):
    """A WebSocket, a stream of events or a long poll is the first after failures: the next request is served."""
    options = UpstreamOptions(breaker=BreakerOptions(open_for=SOON, probes=1))
    with reserved() as sock:
        rig = await rigs(Endpoint("127.0.0.1", sock.getsockname()[1]), upstream=options)
        if fault == "refuses":
            await refused(rig)
        back = await listening(sock)
    if fault == "closes":
        for _ in range(5):
            client = await rig.client()
            await client.send(get())
            (await back.accept()).close()
            await client.answer()
        assert State.HALF_OPEN is rig.upstream.state
    first = await rig.client()
    await first.send(request_)
    end = await back.accept()
    await end.until()
    if response:
        await end.send(response)
        await first.until()
    back.serve(pages())
    while (code := await ask(rig)) == 503 and not response:
        pass  # until the probe lapses
    assert code == 200


async def test_uploads_that_stall_are_408_and_no_evidence(rigs, upstream):
    """``response_timeout`` does not run before the end of the request, also if it is shorter than ``body_timeout``."""
    options = UpstreamOptions(response_timeout=SOON)
    rig = await rigs(endpoint(upstream), upstream=options, server=ServerOptions(body_timeout=SOON * 8))
    clients = [await rig.client() for _ in range(MANY)]
    for client in clients:
        await client.send(post(b"x" * 100)[:-1])
    assert [status((await client.answer())[0]) for client in clients] == [408] * MANY
    assert State.CLOSED is rig.upstream.state


async def test_an_upstream_that_does_not_read_an_upload_is_504(rigs, upstream):
    """The client has sent it, and waits; the time is ``response_timeout``. It is no evidence."""
    upstream.serve(lambda reader, writer: asyncio.sleep(PATIENCE))
    options = UpstreamOptions(response_timeout=SOON * 4)
    rig = await rigs(endpoint(upstream), upstream=options, server=ServerOptions(max_body=1 << 26))
    client = await rig.client()
    client.writer.write(post(b"x" * (1 << 25)))  # more than the kernel takes
    assert status((await client.answer())[0]) == 504
    assert (await rig.summary()).error == "upstream did not read the request"


TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"


async def refuses_uploads(reader, writer):
    """Answer at the head, and close with the body unread: the kernel resets the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"GET"):
        writer.write(OK)
        return
    writer.transport.pause_reading()
    writer.write(TOO_LARGE)
    writer.close()


async def upload(rig, size=4 << 20):
    """A client that sends all before it reads, as most do."""
    client = await rig.client()
    with suppress(ConnectionError):
        client.writer.write(post(b"x" * size))
        return status((await client.answer())[0])


async def test_an_answer_wins_over_the_failed_write_of_an_upload(rigs, upstream):
    """A 413 that came before the reset is what the client gets, and the upstream is not shut for others."""
    upstream.serve(refuses_uploads)
    rig = await rigs(endpoint(upstream))
    assert [await upload(rig) for _ in range(MANY)] == [413] * MANY
    assert await ask(rig) == 200


HTTP_SERVER = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
NODE = """
const server = require("http").createServer((request, response) => {
  if (request.method === "POST") request.destroy(); else response.end("ok");
}).listen(0, "127.0.0.1", () => console.log("port " + server.address().port + " "));
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("command", "expected"), [(HTTP_SERVER, {501}), (["node", "-e", NODE], {502})], ids=["python", "node"]
)
async def test_a_server_that_refuses_uploads_is_not_shut(rigs, tmp_path, command, expected):
    """Python's http.server answers 501 without a look at the body, which arrives; Node destroys the request: 502."""
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(PATIENCE):
            port = int(re.search(rb"port (\d+) ", await process.stdout.readline())[1])
        rig = await rigs(Endpoint("127.0.0.1", port))
        assert {await upload(rig) for _ in range(MANY)} == expected
        assert await ask(rig) == 200
    finally:
        process.kill()
        await process.wait()


async def test_uploads_on_stale_connections_are_no_evidence(rigs, upstream):
    """A connection that was idle and is closed under a POST tells that its time was over."""
    rig = await rigs(endpoint(upstream))
    clients = [await rig.client() for _ in range(MANY)]
    for client in clients:
        await client.send(get())
    ends = [await upstream.accept() for _ in clients]
    for end in ends:
        await end.until()
        await end.send(OK)
    for client in clients:
        await client.answer()
        await client.send(post(b"x"))
    for end in ends:
        await end.until()
        end.close()
    assert [status((await client.answer())[0]) for client in clients] == [502] * MANY
    assert State.CLOSED is rig.upstream.state


async def test_requests_to_a_page_that_closes_are_not_all_that_is_asked(rigs, upstream):
    """However many such requests are under way, another page is served at once, since to be closed costs nothing."""
    rig = await rigs(endpoint(upstream))
    for _ in range(5):
        client = await rig.client()
        await client.send(get())
        (await upstream.accept()).close()
        await client.answer()
    assert State.HALF_OPEN is rig.upstream.state
    under_way = [await forwarded(rig, upstream) for _ in range(MANY)]
    other, end = await forwarded(rig, upstream)
    await end.send(OK)
    assert status((await other.answer())[0]) == 200
    for _, held in under_way:
        held.close()


@contextmanager
def no_files_left():
    """The process has no file to open, as long as it holds those that it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    most = max(int(file.name) for file in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (most + 1, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in taken:
            os.close(file)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_our_own_lack_of_files_is_503_and_no_evidence(rigs, upstream, host):
    """Nothing is known of an upstream for which no socket could be made, or no file for its name be read."""
    rig = await rigs(Endpoint(host, upstream.port))
    client = await rig.client()
    await asyncio.get_running_loop().getaddrinfo(
        host, upstream.port
    )  # the resolver has its modules, as in a busy process
    with no_files_left():
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            os.dup(0)
        statuses = [status((await client.ask(get()))[0]) for _ in range(MANY)]
    assert statuses == [503] * MANY
    assert State.CLOSED is rig.upstream.state
    assert (await rig.summary()).error == "the gateway has no file, port or memory left for a connection"


async def test_the_first_request_after_a_restart_is_served(rigs, listening):
    """However long it was away and was asked, and so are others that come at the same time."""
    with reserved() as sock:
        rig = await rigs(Endpoint("127.0.0.1", sock.getsockname()[1]))
        assert [await ask(rig) for _ in range(MANY)] == [502] * 5 + [503] * 7
        back = await listening(sock)
    back.serve(pages())
    assert await asyncio.gather(*(ask(rig) for _ in range(MANY))) == [200] * MANY


async def test_the_first_request_after_a_restart_of_all_endpoints_is_served(rigs, listening):
    """All are ejected, so all are asked."""
    with reserved() as one, reserved() as other:
        ends = [Endpoint("127.0.0.1", sock.getsockname()[1]) for sock in (one, other)]
        rig = await rigs(*ends, upstream=UpstreamOptions(balance=BalanceOptions(failures=2)))
        for _ in range(MANY):
            assert await ask(rig) in {502, 503}
        now = asyncio.get_running_loop().time()
        assert all(rig.upstream.ejected(index, now) for index in range(2))
        backs = [await listening(sock) for sock in (one, other)]
    for back in backs:
        back.serve(pages())
    assert [await ask(rig) for _ in range(MANY)] == [200] * MANY


async def test_a_page_after_an_outage_is_followed_by_its_assets(rigs, upstream):
    """One response closes the breaker, however it was opened."""
    upstream.serve(pages(**BAD))
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(response_timeout=SOON))
    for _ in range(MANY):
        await ask(rig, get(b"/hangs"))
    assert await ask(rig) == 200
    assert await asyncio.gather(*(ask(rig) for _ in range(MANY))) == [200] * MANY


async def test_an_upstream_without_a_breaker_is_always_asked(rigs):
    """``breaker: false``: each request is told what its own attempt found."""
    with reserved() as sock:
        options = UpstreamOptions(breaker=None, balance=None)
        rig = await rigs(Endpoint("127.0.0.1", sock.getsockname()[1]), upstream=options)
        assert [await ask(rig) for _ in range(MANY)] == [502] * MANY
    assert State.CLOSED is rig.upstream.state


async def test_statuses_open_it_where_they_are_listed(rigs, upstream):
    """``statuses``: five responses in a row open it, and it is 503 with Retry-After for all."""
    upstream.serve(pages(**BAD))
    options = UpstreamOptions(breaker=BreakerOptions(statuses=frozenset((503,)), open_for=30))
    rig = await rigs(endpoint(upstream), upstream=options)
    for _ in range(5):
        assert await ask(rig, get(b"/s502")) == 502
    for _ in range(5):
        assert await ask(rig, get(b"/s503")) == 503
    head, _ = await (await rig.client()).ask(get())
    assert b"Retry-After: 30\r\n" in head
