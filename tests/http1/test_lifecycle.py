"""Which timeout applies in which state, as a table; and what restarts a deadline, on a clock of the test's own."""

from math import inf

import pytest

from ratelimitd.http1 import ServerOptions, UpstreamOptions
from ratelimitd.http1.body_pace import BodyPace
from ratelimitd.http1.lifecycle import (
    BUSY,
    CLOSING,
    HEAD,
    LEAVE,
    LINGER,
    LINGERING,
    TUNNEL,
    client_timeout,
    upstream_timeout,
)
from tests.http1.fakes import Gateway, Upstream

SERVER = ServerOptions(head_timeout=10, body_timeout=30, idle_timeout=75, send_timeout=60, min_body_rate=0)
PACED = SERVER._replace(min_body_rate=2)
UPSTREAM = UpstreamOptions(response_timeout=61, read_timeout=300, tunnel_timeout=301, idle_timeout=4)
NEVER = inf

BLOCKED, SERVED, BEGUN, RECEIVING, LEAVES = "blocked", "served", "begun", "receiving", "leaves"
CLIENTS = {
    (HEAD, ()): SERVER.head_timeout,  # a new connection
    (HEAD, (BEGUN,)): SERVER.head_timeout,
    (HEAD, (SERVED,)): SERVER.idle_timeout,
    (HEAD, (SERVED, BEGUN)): SERVER.head_timeout,
    (HEAD, (LEAVES,)): LEAVE,  # the server leaves its clients
    (HEAD, (SERVED, LEAVES)): LEAVE,
    (HEAD, (SERVED, BEGUN, LEAVES)): SERVER.head_timeout,
    (BUSY, (SERVED, LEAVES)): NEVER,
    (BUSY, (SERVED,)): NEVER,  # the answer is not there yet, or delivery of the body is paused
    (BUSY, (SERVED, RECEIVING)): SERVER.body_timeout,
    (TUNNEL, (SERVED,)): NEVER,
    (TUNNEL, (SERVED, RECEIVING)): NEVER,
    (LINGERING, (SERVED,)): LINGER,
    (LINGERING, ()): LINGER,
    (CLOSING, ()): SERVER.send_timeout,
    (CLOSING, (SERVED,)): SERVER.send_timeout,
    **{
        (phase, (BLOCKED, SERVED, *more)): SERVER.send_timeout
        for phase in (HEAD, BUSY, TUNNEL, LINGERING, CLOSING)
        for more in ((), (RECEIVING,))
    },
}
UPSTREAMS = {
    ("idle",): UPSTREAM.idle_timeout,
    ("idle", "receiving"): UPSTREAM.idle_timeout,  # the response before is complete
    (): UPSTREAM.response_timeout,
    ("uploading",): NEVER,  # the client's body_timeout applies
    ("uploading", "receiving"): UPSTREAM.read_timeout,
    ("receiving",): UPSTREAM.read_timeout,
    ("tunnel",): UPSTREAM.tunnel_timeout,
    ("paused",): NEVER,
    ("paused", "receiving"): NEVER,
    ("paused", "tunnel"): NEVER,
}


@pytest.mark.parametrize(("phase", "state"), CLIENTS)
def test_a_client_has_the_timeout_of_its_state(phase, state):
    """Every state of a client's connection has one timeout; a client that does not read has the same one in all."""
    flags = [name in state for name in (BLOCKED, SERVED, BEGUN, RECEIVING, LEAVES)]
    assert CLIENTS[phase, state] == client_timeout(SERVER, phase, *flags)


@pytest.mark.parametrize("state", UPSTREAMS)
def test_an_upstream_has_the_timeout_of_its_state(state):
    """Every state of an upstream connection has one timeout; none while the client is the one that is waited for."""
    flags = [name in state for name in ("idle", "paused", "tunnel", "receiving", "uploading")]
    assert UPSTREAMS[state] == upstream_timeout(UPSTREAM, UPSTREAM.response_timeout, *flags)


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


def blocks(end):
    """The client does not read, and the write buffer is full."""
    end.clock.unsent = 50_000
    end.connection.pause_writing()


def takes(end):
    """The client reads a byte."""
    end.clock.unsent -= 1


def reads(end):
    """The client reads again."""
    end.clock.unsent = 1000
    end.connection.resume_writing()


def expires(end):
    """The deadline passes."""
    end.clock.now = end.connection.deadline
    end.connection.expire(end.clock.now)


def left(end, *steps):
    """The seconds to the deadline after each step, all a second apart: bytes that the other end sends, or a call."""
    seconds = []
    for step in steps:
        end.clock.now += 1
        if callable(step):
            step(end)
        else:
            end.feed(step)
        seconds.append(end.connection.deadline - end.clock.now)
    return seconds


def test_a_head_has_its_time_from_its_first_byte():
    """The first byte starts the time of a head, also on a new connection; no other byte extends it."""
    assert left(Gateway(SERVER), b"G", b"E", b"T") == [10, 9, 8]
    assert left(Gateway(SERVER), GET, b"G", b"E") == [75, 10, 9]


def test_each_request_restarts_the_idle_time():
    """Also where several requests come in one read."""
    assert left(Gateway(SERVER), GET, GET * 3, GET) == [75, 75, 75]


def test_a_body_has_its_time_from_each_piece():
    """Data of a body restarts its time; the framing of chunks alone does not."""
    pieces = [b"5\r\nab", b"c", b"de\r\n", b"1", b"\r\n", b"x", b"\r\n0\r\n\r\n"]
    assert left(Gateway(SERVER), CHUNKED, *pieces) == [30, 30, 30, 30, 29, 28, 30, 75]


def test_a_paused_body_has_no_time():
    """A sink that takes no more is not the client's delay; the time starts anew when it takes more."""
    steps = [lambda end, paused=paused: end.connection.pause_body(paused=paused) for paused in (True, False)]
    assert left(Gateway(SERVER), CHUNKED, *steps) == [30, NEVER, 30]


def test_a_body_has_a_least_rate():
    """From its begin: 30 s, and one more for each two bytes that came; no byte extends the 30 s after it."""
    pieces = [b"1\r\na", b"\r\n2\r\nbc", b"\r\n64\r\n" + b"d" * 100]
    assert left(Gateway(PACED), CHUNKED, *pieces) == [30, 29.5, 29.5, 30]


def test_the_time_in_which_a_body_is_not_read_does_not_count():
    """The upstream is what is waited for; the next body begins anew."""
    gateway = Gateway(PACED)

    def pause(end):
        end.connection.pause_body(paused=True)
        end.clock.now += 100

    def resume(end):
        end.connection.pause_body(paused=False)

    assert left(gateway, CHUNKED, pause, resume) == [30, NEVER, 29]
    assert left(gateway, b"1\r\na\r\n0\r\n\r\n", CHUNKED, b"1\r\na") == [75, 30, 29.5]


def test_a_slow_body_is_told_from_one_that_stopped():
    """In the reason for the log."""
    pace = BodyPace()
    pace.start(PACED, 0)
    assert pace.error(29).reason == "request body took too long"
    assert pace.error(30).reason == "request body came too slowly"
    pace.start(SERVER, 0)
    assert pace.error(30).reason == "request body took too long"


def test_a_client_that_does_not_read_is_not_helped_by_what_it_sends():
    """Only what it reads extends the time of a client that does not read; then it has the time of its state again."""
    assert left(Gateway(SERVER), CHUNKED, blocks, b"5\r\nab", b"cde", reads) == [30, 60, 59, 58, 30]
    assert left(Gateway(SERVER), GET, blocks, reads) == [75, 60, 75]


def test_a_client_has_the_time_to_read_as_long_as_it_reads_something():
    """At the deadline a client that took a byte has as long again; one that took none is cut off."""
    gateway = Gateway(SERVER)
    assert left(gateway, GET, blocks, takes, expires) == [75, 60, 59, 60]
    assert not gateway.clock.aborted
    left(gateway, expires)
    assert gateway.clock.aborted


def test_a_client_that_ends_has_its_time_from_the_end():
    """A rejected request leaves the client a short time to read the answer; an idle connection that ends, to close."""
    assert left(Gateway(SERVER), b"\0") == [LINGER]
    assert left(Gateway(SERVER), GET, leaves) == [75, LINGER]


def leaves(gateway):
    """The server leaves its clients."""
    gateway.connection.leave()


def test_a_client_that_sends_on_after_its_last_response_is_lingered_for():
    """Two seconds of silence end it, and half a minute in all; the time of idle connections is that of the end."""
    gateway = Gateway(SERVER)
    assert left(gateway, b"\0", *[b"x" * 99_000] * 29) == [LINGER] * 29 + [1]
    assert gateway.connection.idle_since == 1
    assert gateway.connection._pending == b""


def test_a_client_that_reads_its_last_response_slowly_is_not_cut_off():
    """After its silence the connection is closed when all is sent, with the time of every client that reads."""
    gateway = Gateway(SERVER)
    gateway.feed(b"\0")
    gateway.clock.unsent = 1000
    expires(gateway)
    assert left(gateway, takes, expires) == [SERVER.send_timeout - 1, SERVER.send_timeout]
    assert not gateway.clock.aborted


def test_a_client_that_is_left_may_ask_once_more_within_a_second():
    """Since its last response, or since it came; a head that has begun keeps its time."""
    gateway = Gateway(SERVER)
    gateway.clock.now = 0.25
    assert (gateway.connection.deadline, gateway.connection.idle_since) == (10, 0)
    leaves(gateway)
    assert (gateway.connection.deadline, gateway.connection.idle_since) == (LEAVE, 0)
    gateway.feed(GET[:-2])
    assert gateway.connection.deadline == 0.25 + SERVER.head_timeout
    assert left(gateway, b"\r\n") == [LEAVE]


def test_an_empty_line_restarts_no_time():
    """It is no beginning of a head: neither is the time of one started, nor that of an idle connection restarted."""
    assert left(Gateway(SERVER), b"\r\n", b"G", b"E") == [9, 10, 9]
    assert left(Gateway(SERVER), GET, b"\r\n", b"G") == [75, 74, 10]
    assert left(Gateway(SERVER), GET, b"\r\n", b"\r\n", b"\r\n") == [75, 74, 10, LINGER]


def asks(upstream):
    """Another request is sent."""
    upstream.ask()


def pauses(upstream):
    """The client does not read."""
    upstream.connection.pause(paused=True)


def resumes(upstream):
    """The client reads again."""
    upstream.connection.pause(paused=False)


def test_a_response_has_its_time_from_the_end_of_the_request():
    """Bytes of its head, and interim heads, do not extend it."""
    upstream = Upstream(UPSTREAM)
    assert left(upstream, asks, b"HTTP/1.1 103 Early\r\n", b"\r\nHTTP/1.1 2", b"00 OK\r\n") == [61, 60, 59, 58]


def test_a_request_that_is_not_complete_has_no_response_timeout():
    """Its body is the client's to send in time, unless the upstream is the one that does not take it."""
    upstream = Upstream(UPSTREAM)
    connection = upstream.connection
    states = [
        lambda _: connection.begin(upstream, b"POST", b"", websocket=False),
        lambda _: connection.send(b"a piece"),
        lambda _: connection.pause_writing(),
        lambda _: None,
        lambda _: connection.resume_writing(),
        lambda _: connection.complete(),
    ]
    assert left(upstream, *states) == [inf, inf, 61, 60, inf, 61]


def test_a_request_may_have_a_response_timeout_of_its_own():
    """It holds for that request alone, also on a connection that is used again."""

    def own(upstream):
        upstream.ask(response_timeout=7)

    assert left(Upstream(UPSTREAM), own, RESPONSE + b"ok", asks, RESPONSE + b"ok", own) == [7, 4, 61, 4, 7]


def test_a_response_body_has_its_time_from_each_read():
    """Each read restarts it; after the last one the connection is idle, until the next request."""
    assert left(Upstream(UPSTREAM), asks, RESPONSE, b"o", b"k", lambda _: None, asks) == [61, 300, 300, 4, 3, 61]


def test_an_upstream_has_no_deadline_while_the_client_does_not_read():
    """It starts anew when the client reads again, and is not set by what is sent meanwhile."""
    upstream = Upstream(UPSTREAM)
    steps = [asks, RESPONSE, pauses, lambda end: end.connection.send(b"more of the request"), resumes]
    assert left(upstream, *steps) == [61, 300, NEVER, NEVER, 300]


def test_an_upstream_connection_that_closes_has_a_deadline():
    """Also one that is paused when its response ends: an upstream that reads no more would hold it for ever."""
    upstream = Upstream(UPSTREAM)
    closing = RESPONSE.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    assert left(upstream, asks, closing, pauses, b"ok") == [61, 300, NEVER, 300]


def test_a_connection_shows_its_state():
    """What a debugger or a failed test prints of a connection: its phase, what holds it up, and what is not sent."""
    gateway, upstream = Gateway(SERVER), Upstream(UPSTREAM)
    assert repr(gateway.connection) == "<DownstreamConnection : HEAD, 0 unsent>"
    left(gateway, b"G")
    assert repr(gateway.connection) == "<DownstreamConnection : HEAD, partial head, 0 unsent>"
    left(gateway, GET[1:], blocks)
    assert repr(gateway.connection) == "<DownstreamConnection : HEAD, blocked, 50000 unsent>"
    left(upstream, asks, pauses)
    assert repr(upstream.connection) == "<UpstreamConnection: in use, paused, 0 unsent>"
    left(upstream, resumes, RESPONSE + b"ok")
    assert repr(upstream.connection) == "<UpstreamConnection: idle, 0 unsent>"
