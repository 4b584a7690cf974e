# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""gRPC over libnghttp2, without sockets, event loop or clock: bytes in, calls out; answers in, bytes out.

libnghttp2's callbacks (_receive.pxd, _answer.pxd) see C structs alone. Python objects come to life in ``Session.feed``
and leave in ``respond``, ``send`` and ``flush``.
"""

from ratelimitd.transport.metadata import decode_metadata

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc

from ratelimitd.transport._answer cimport finish, resume, start_answer
from ratelimitd.transport._libnghttp2 cimport *
from ratelimitd.transport._receive cimport *
from ratelimitd.transport._stream cimport *

cdef enum:
    CHUNK = 256 * 1024            # bytes one flush returns; a batch of answers is far less
    LINK_WINDOW = 1024 * 1024     # bytes in flight to us on one connection; messages are read at once
    MESSAGE_BYTES = 1024          # of an error's text: three times that in a header is within every peer's bound

cdef const char *UNREAD = b"too many answers wait for this connection to read them"
cdef Buffer OUT                   # where every flush gathers its frames

FLUSH_BYTES = CHUNK
"""A flush that returns less has said all there is to say for now."""


include "_service.pxi"
include "_calls.pxi"


@cython.final
@cython.no_gc_clear  # calls that are freed in the same collection need its service
cdef class Session:
    """One connection.

    ``feed`` what arrives, serve what it returns, then write what ``flush`` returns until that is empty. ``wake`` is
    called, at most once between two flushes, when an answer given later makes a flush necessary. Times are µs of one
    clock. ``close`` it when the connection is gone: its calls hold it, and what ``wake`` belongs to may hold them.
    """

    cdef Link link
    cdef Service service
    cdef object wake
    cdef list opened
    cdef bint stirred
    cdef readonly bint forgot     # the service dropped a call: a flush is due that nobody was woken for
    cdef unsigned int fault       # an HTTP/2 error code: end the connection with it
    cdef bint ending

    def __cinit__(self, Service service not None, object wake not None, long long now):
        cdef nghttp2_settings_entry settings[3]
        self.service = service
        self.wake = wake
        self.opened = []
        self.link.setup = &service.setup
        self.link.now = now
        self.link.to_skip = PREFACE
        self.link.budget = service.setup.frame_rate * FRAME_COST
        if nghttp2_session_server_new2(&self.link.h2, service.callbacks, &self.link, service.option) != 0:
            raise MemoryError
        settings[0] = nghttp2_settings_entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, service.max_streams)
        settings[1] = nghttp2_settings_entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, service.setup.max_header_bytes)
        settings[2] = nghttp2_settings_entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1)
        nghttp2_submit_settings(self.link.h2, NGHTTP2_FLAG_NONE, settings, 3)
        nghttp2_session_set_local_window_size(self.link.h2, NGHTTP2_FLAG_NONE, 0, LINK_WINDOW)

    def __dealloc__(self):
        cdef Stream *stream
        self.free()
        while self.link.touched != NULL:
            stream = self.link.touched
            self.link.touched = stream.next_touched
            release(stream)

    cdef void free(self):
        """libnghttp2 closes no stream of a session that ends, so we do."""
        cdef Stream *stream
        if self.link.h2 == NULL:
            return
        nghttp2_session_del(self.link.h2)
        self.link.h2 = NULL
        while self.link.streams != NULL:
            close_stream(self.link.streams)
        while self.link.ready != NULL:
            stream = self.link.ready
            self.link.ready = stream.next_ready
            release(stream)

    def close(self):
        """The connection is gone: every call of it is cancelled; ``touched`` tells of the streaming ones."""
        self.wake = None
        self.free()

    def feed(self, bytes data not None, long long now):
        """Take what the connection received; returns [(handler, [Call, ...]), ...] of the calls it completed.

        Streaming calls that began are in ``take_opened()``, those with news in ``take_touched()``. A flush must follow.
        """
        cdef const uint8_t *bytes_ = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef int64_t frames
        cdef ssize_t n
        self.stirred = True
        if self.link.h2 == NULL or self.ending:
            return ()
        self.earn(now)
        frames = count_frames(&self.link, bytes_, PyBytes_GET_SIZE(data))
        n = nghttp2_session_mem_recv(self.link.h2, bytes_, PyBytes_GET_SIZE(data))
        self.link.budget -= frames * FRAME_COST
        if self.link.budget < 0 or n == NGHTTP2_ERR_FLOODED:
            self.fault = NGHTTP2_ENHANCE_YOUR_CALM
        elif n < 0:
            self.fault = NGHTTP2_PROTOCOL_ERROR if n == NGHTTP2_ERR_BAD_CLIENT_MAGIC else NGHTTP2_INTERNAL_ERROR
        return self.collect() if self.link.ready != NULL else ()

    cdef void earn(self, int64_t now):
        """Time refills the budget; work may have overfilled it."""
        cdef int64_t full = self.link.setup.frame_rate * FRAME_COST
        self.link.budget = min(full, self.link.budget + max(0, now - self.link.now) * self.link.setup.frame_rate)
        self.link.now = now

    cdef list collect(self):
        """Make Python calls of the streams that are ready, grouped by method."""
        cdef list groups = []
        cdef list calls = None
        cdef int method = -1
        cdef Stream *stream
        while self.link.ready != NULL:
            stream = self.link.ready
            self.link.ready = stream.next_ready
            if not self.admit(stream):
                release(stream)
            elif self.service.setup.methods[stream.method].streaming:
                self.opened.append((self.service.handlers[stream.method], self.new_pipe(stream)))
            else:
                if stream.method != method:
                    method = stream.method
                    calls = self.group(groups, self.service.handlers[method])
                calls.append(self.new_call(stream))
        return groups

    cdef bint admit(self, Stream *stream):
        cdef Setup *setup = self.link.setup
        if stream.closed or self.fault:
            return False
        if self.link.unsent > setup.max_unsent:
            finish(stream, 8, UNREAD)
            return False
        if not (self.admit_streaming(stream) if setup.methods[stream.method].streaming else self.admit_unary(stream)):
            return False
        self.link.serving += 1
        stream.serving = True
        return True

    cdef bint admit_unary(self, Stream *stream):
        cdef Setup *setup = self.link.setup
        if setup.calls >= setup.max_calls:
            finish(stream, 8, b"too many concurrent calls")
            return False
        setup.calls += 1
        return True

    cdef bint admit_streaming(self, Stream *stream):
        """Streams have bounds of their own: they may stay open for ever, and unary calls shall not starve of it."""
        cdef Setup *setup = self.link.setup
        if setup.streaming >= setup.max_streaming:
            finish(stream, 8, b"too many concurrent streaming calls")
        elif self.link.streaming >= setup.max_link_streaming:
            finish(stream, 8, b"too many concurrent streaming calls on this connection")
        else:
            setup.streaming += 1
            self.link.streaming += 1
            stream.streaming = True
            return True
        return False

    cdef list group(self, list groups, object handler):
        for known, calls in groups:
            if known is handler:
                return calls
        calls = []
        groups.append((handler, calls))
        return calls

    cdef Call new_call(self, Stream *stream):
        """The list's reference becomes the call's."""
        cdef Call call = Call.__new__(Call)
        call.session = self
        call.stream = stream
        call.deadline = stream.deadline
        call.body = PyBytes_FromStringAndSize(
            stream.inbound.data + stream.inbound.start + PREFIX, stream.scanned - PREFIX)
        if stream.metadata.end:
            call.kept = PyBytes_FromStringAndSize(stream.metadata.data, stream.metadata.end)
        drop_inbound(stream)
        return call

    cdef Pipe new_pipe(self, Stream *stream):
        cdef Pipe pipe = Pipe.__new__(Pipe)
        pipe.session = self
        pipe.stream = stream
        if stream.metadata.end:
            pipe.kept = PyBytes_FromStringAndSize(stream.metadata.data, stream.metadata.end)
        stream.pipe = <void *>pipe
        return pipe

    def take_opened(self):
        """Return [(handler, Pipe), ...] of the streaming calls that began."""
        opened, self.opened = self.opened, []
        return opened

    def take_touched(self):
        """Return the owners of the pipes that have news: a message, an end, room to send."""
        cdef list owners = []
        cdef Stream *stream
        while self.link.touched != NULL:
            stream = self.link.touched
            self.link.touched = stream.next_touched
            stream.listed_touched = False
            if stream.pipe != NULL and (<Pipe>stream.pipe).owner is not None:
                owners.append((<Pipe>stream.pipe).owner)
            release(stream)
        return owners

    def flush(self):
        """Return the bytes to write, at most CHUNK and a frame; empty when there is no more to say for now."""
        cdef const uint8_t *frame
        cdef ssize_t n = 1
        self.stirred = self.forgot = False
        if self.link.h2 == NULL:
            return b""
        if self.fault:
            self.terminate()
        OUT.start = OUT.end = 0
        while n > 0 and OUT.end < CHUNK:
            n = nghttp2_session_mem_send(self.link.h2, &frame)
            if n > 0 and not append(&OUT, frame, n):
                raise MemoryError
        if n < 0:
            self.ending = True
        return PyBytes_FromStringAndSize(OUT.data, OUT.end) if OUT.end else b""

    cdef void terminate(self):
        """Say why with GOAWAY, and nothing after."""
        nghttp2_session_terminate_session2(
            self.link.h2, nghttp2_session_get_last_proc_stream_id(self.link.h2), self.fault)
        self.fault = 0
        self.ending = True

    cdef int enqueue(self, Stream *stream, bytes body) except -1:
        if not append_message(&stream.outbound, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)):
            raise MemoryError
        self.link.unsent += PREFIX + PyBytes_GET_SIZE(body)
        return 0

    cdef int reply(self, Stream *stream, bytes body) except -1:
        """Answer a unary call; a caller who does not read what it has gets no more."""
        cdef int failed
        if self.link.unsent > self.link.setup.max_unsent:
            failed = finish(stream, 8, UNREAD)
        else:
            self.enqueue(stream, body)
            stream.finished = True
            failed = start_answer(stream)
        if failed != 0:
            self.fault = NGHTTP2_INTERNAL_ERROR
        return 0

    cdef int end(self, Stream *stream, int status, str message) except -1:
        cdef bytes text
        cdef char *encoded
        if stream.closed or stream.finished:
            return 0
        text = message.encode("utf-8", "replace")[:MESSAGE_BYTES].decode("utf-8", "ignore").encode()  # whole characters
        encoded = <char *>malloc(len(text) * 3 + 1)
        if encoded == NULL:
            raise MemoryError
        encoded[percent_encode(PyBytes_AS_STRING(text), len(text), encoded)] = 0
        if finish(stream, status, encoded) != 0:
            self.fault = NGHTTP2_INTERNAL_ERROR
        free(encoded)
        return 0

    cdef void drop(self, Stream *stream):
        """Nobody holds the call any more: its caller shall not wait for ever.

        It may be the garbage collector that drops it, where nothing of Python may be called: ``forgot`` tells.
        """
        if not (stream.closed or stream.finished):
            if finish(stream, 13, b"the service dropped the call") != 0:
                self.fault = NGHTTP2_INTERNAL_ERROR
            self.forgot = True
        release(stream)

    cdef void stir(self):
        if not self.stirred and self.wake is not None:
            self.stirred = True
            self.wake()

    def shutdown_notice(self):
        """Ask for no new calls, and for a PONG that tells the caller has read it (RFC 9113 6.8)."""
        if self.link.h2 == NULL:
            return
        self.link.pong = False
        nghttp2_submit_shutdown_notice(self.link.h2)
        nghttp2_submit_ping(self.link.h2, NGHTTP2_FLAG_NONE, NULL)
        self.stir()

    def goaway(self):
        """Name the last call that will be answered; later ones are ignored."""
        if self.link.h2 == NULL:
            return
        nghttp2_submit_goaway(
            self.link.h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.link.h2), NGHTTP2_NO_ERROR,
            NULL, 0)
        self.stir()

    @property
    def pong(self):
        """The PING of ``shutdown_notice`` came back."""
        return self.link.pong

    @property
    def greeted(self):
        """The caller has sent the preface and its SETTINGS."""
        return self.link.greeted

    @property
    def open(self):
        """Calls not yet over."""
        return self.link.open

    @property
    def serving(self):
        """Calls not yet over that were handed out; the others are not whole."""
        return self.link.serving

    @property
    def unsent(self):
        """Bytes of answers that wait for the caller to read."""
        return self.link.unsent

    @property
    def sent(self):
        """Bytes of answers that were framed so far."""
        return self.link.sent

    @property
    def buffered(self):
        """Bytes of messages that are not whole or not taken."""
        return self.link.buffered

    @property
    def news(self):
        """A streaming call began or has news."""
        return self.link.touched != NULL or self.opened

    @property
    def done(self):
        """Nothing is to be read or written any more."""
        return self.link.h2 == NULL or self.ending or not (
            nghttp2_session_want_read(self.link.h2) or nghttp2_session_want_write(self.link.h2))
