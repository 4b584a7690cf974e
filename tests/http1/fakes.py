"""Connections without sockets: what surrounds them is held by the test."""

from ratelimitd.http1 import ServerOptions, UpstreamOptions
from ratelimitd.http1.downstream import DownstreamConnection
from ratelimitd.http1.downstream_socket import _buffer
from ratelimitd.http1.responses import render_text
from ratelimitd.http1.upstream_connection import UpstreamConnection
from ratelimitd.http1.upstream_connection import _buffer as _upstream_buffer


class Clock:
    """As much of a loop and a transport as a connection needs.

    Attributes:
        now: the loop's time.
        unsent: bytes in the transport's write buffer.
        aborted: the transport was told to abort.
    """

    def __init__(self):
        self.now = 0.0
        self.unsent = 0
        self.aborted = False

    def time(self):
        return self.now

    def call_soon(self, callback):
        callback()

    def set_write_buffer_limits(self, high):
        pass

    def get_write_buffer_size(self):
        return self.unsent

    def get_extra_info(self, name):
        return None

    def is_closing(self):
        return False

    def can_write_eof(self):
        return True

    def write(self, data):
        pass

    def abort(self):
        self.aborted = True

    close = write_eof = pause_reading = resume_reading = lambda self: None


def _feed(connection, buffer, data):
    for at in range(0, len(data), len(buffer)):
        piece = data[at : at + len(buffer)]
        buffer[: len(piece)] = piece
        connection.buffer_updated(len(piece))


class Gateway:
    """A connection's owner that takes all bodies and notes what it was asked, and what was left behind it."""

    def __init__(self, options=None):
        self.options = options or ServerOptions()
        self.render = render_text
        self.leaving = False
        self.asked = []
        self.clock = Clock()
        self.connection = DownstreamConnection(self, self.clock, secure=False)
        self.connection.connection_made(self.clock)

    def joined(self, member):
        pass

    def lost(self, member):
        pass

    def refused(self, error, peer):
        pass

    def handler(self, request, exchange):
        self.request, self.exchange, self.received = request, exchange, b""
        if request.length == 0:
            self.body_end()
        else:
            self.connection.start_body(self)

    def body(self, piece):
        self.received += piece

    def body_end(self):
        request, rest = self.request, self.connection._pending
        headers = [(name.lower(), value) for name, value in request.headers]
        self.asked.append((request.method, request.target, headers, self.received, rest))
        self.exchange.respond(200, [])

    def feed(self, data):
        _feed(self.connection, _buffer, data)
        return self.asked


class Upstream:
    """A requester that notes what its upstream connection reports, and the pool of that connection."""

    def __init__(self, options=None):
        self.options = options or UpstreamOptions()
        self.reported = []
        self.clock = Clock()
        self.connection = UpstreamConnection(self, self.clock)
        self.connection.connection_made(self.clock)

    def ask(self, response_timeout=None):
        self.connection.begin(self, b"GET", b"", websocket=False, response_timeout=response_timeout)
        self.connection.complete()

    def settle(self, connection):
        connection.rest()

    def interim(self, head):
        self.reported.append(head)

    def response(self, head, length):
        self.reported.append((head, length))

    def lost(self, error, *, unheard):
        self.reported.append(error)

    def data(self, piece):
        pass

    def writing_paused(self, *, paused):
        pass

    read = end = lambda self, *_: None

    def feed(self, data):
        _feed(self.connection, _upstream_buffer, data)
