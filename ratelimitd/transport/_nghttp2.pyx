# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: binding=False, always_allow_keywords=False
"""gRPC over libnghttp2, without sockets, event loop or clock: bytes in, calls out; responses in, bytes out.

libnghttp2's callbacks (_receive.pxd, _response.pxd) work on C structs only. Python objects are created in
``Session.feed`` and consumed in ``respond``, ``send`` and ``flush``.
"""

from ratelimitd.transport.api import GrpcError
from ratelimitd.transport.compression import decompressed
from ratelimitd.transport.metadata import decode_metadata

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t
from libc.stdlib cimport calloc, free, malloc

from ratelimitd.transport._blocks cimport put_frame, receive
from ratelimitd.transport._bounds cimport admit, end_late, refuse_incomplete
from ratelimitd.transport._fields cimport message_length, percent_encode
from ratelimitd.transport._libnghttp2 cimport *
from ratelimitd.transport._receive cimport *
from ratelimitd.transport._response cimport finish, resume, start_response
from ratelimitd.transport._stream cimport *

cdef enum:
    CHUNK = 256 * 1024                  # bytes per flush; a batch of responses is far smaller
    CONNECTION_WINDOW = 1024 * 1024     # receive window of a connection; messages are consumed at once
    READ_INFLATES = 3                   # largest messages that a piece may decompress to: of 128 KiB, 1 to 2 ms of work
    FRAMES_PER_STREAM = 2               # of a new connection's budget: grpc core sends WINDOW_UPDATE with each call
    GREETING_FRAMES = 128               # and beside its calls: SETTINGS, PING and WINDOW_UPDATE
    MESSAGE_BYTES = 1024                # of an error message: encoded, up to 3 KiB, within every peer's header limit

cdef str TOO_MUCH_AT_ONCE = "too many compressed messages at once"
cdef const char *TOO_MANY_UNREAD = b"too many unread responses on this connection"
cdef Buffer OUTPUT                      # shared by all sessions: flush() gathers frames here

FLUSH_BYTES = CHUNK
"""A flush that returns fewer bytes has nothing left to write."""


def library_version():
    """Return the version of the libnghttp2 that is loaded, as a text."""
    return nghttp2_version(0).version_str.decode()


include "_server_state.pxi"
include "_calls.pxi"


@cython.no_gc_clear  # calls freed in the same collection use ``server``
cdef class Session:
    """One connection.

    Pass received bytes to ``feed``, serve the calls it returns, then write the bytes that ``flush`` returns until it
    returns none. ``wake`` is called, at most once between two flushes, when a later response requires a flush. Times
    are µs of one clock. Call ``close`` when the connection is lost: calls refer to their session, and the owner of
    ``wake`` may refer to the calls, so the reference cycle must be broken.
    """

    cdef H2Connection connection
    cdef ServerState server
    cdef object wake
    cdef list opened
    cdef bint flush_requested
    cdef readonly bint call_dropped # the service dropped a call: a flush is due, and ``wake`` was not called
    cdef unsigned int error_code    # HTTP/2 error code with which to close the connection
    cdef bint terminating
    cdef bint more                  # the last flush may have left something to write

    def __cinit__(self, ServerState server not None, object wake not None, long long now, *_):
        cdef nghttp2_settings_entry settings[3]
        self.server = server
        self.wake = wake
        self.opened = []
        self.connection.shared = &server.shared
        self.connection.now = now
        self.connection.to_skip = PREFACE
        self.connection.fault = NGHTTP2_INTERNAL_ERROR
        self.connection.due = INT64_MAX
        self.connection.budget = FRAME_COST * min(
            server.shared.frame_rate, GREETING_FRAMES + FRAMES_PER_STREAM * <int64_t>server.max_streams)
        if nghttp2_session_server_new2(&self.connection.h2, server.callbacks, &self.connection, server.option) != 0:
            raise MemoryError
        settings[0] = nghttp2_settings_entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, server.max_streams)
        settings[1] = nghttp2_settings_entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, server.shared.max_header_bytes)
        settings[2] = nghttp2_settings_entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1)
        nghttp2_submit_settings(self.connection.h2, NGHTTP2_FLAG_NONE, settings, 3)
        nghttp2_session_set_local_window_size(self.connection.h2, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW)

    def __dealloc__(self):
        cdef H2Stream *stream
        self.free()
        while self.connection.notified != NULL:
            stream = self.connection.notified
            self.connection.notified = stream.next_notified
            release(stream)

    cdef void free(self):
        """Free the session; libnghttp2 does not close its streams, so close them here."""
        cdef H2Stream *stream
        if self.connection.h2 == NULL:
            return
        nghttp2_session_del(self.connection.h2)
        self.connection.h2 = NULL
        while self.connection.streams != NULL:
            close_stream(self.connection.streams)
        while self.connection.ready != NULL:
            stream = self.connection.ready
            self.connection.ready = stream.next_ready
            release(stream)
        hold_unread(&self.connection)

    def close(self):
        """Cancel every call after the connection was lost; ``take_notified()`` returns the streaming calls."""
        self.wake = None
        self.free()

    def feed(self, bytes data not None, long long now):
        """Process received bytes; return [(handler, [UnaryCall, ...]), ...] for the unary calls that they completed.

        ``take_opened()`` returns new streaming calls, ``take_notified()`` those with an event. The caller must flush.
        """
        return self.decode(data, now) or ()

    cdef list decode(self, bytes data, long long now):
        cdef const uint8_t *bytes_ = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef int64_t frames = 0
        cdef ssize_t n
        self.flush_requested = True
        if self.connection.h2 == NULL or self.terminating or self.error_code:
            return None
        refill_budget(&self.connection, now)
        self.connection.inflatable = READ_INFLATES * self.connection.shared.max_message
        n = receive(&self.connection, bytes_, PyBytes_GET_SIZE(data), &frames)
        self.connection.budget -= frames * FRAME_COST
        if self.connection.budget < 0 or n == NGHTTP2_ERR_FLOODED or n == TOO_MANY_CONTINUATIONS:
            self.error_code = NGHTTP2_ENHANCE_YOUR_CALM
        elif n < 0:
            self.error_code = NGHTTP2_PROTOCOL_ERROR if n == NGHTTP2_ERR_BAD_CLIENT_MAGIC else self.connection.fault
        refuse_incomplete(&self.connection)
        return self.collect() if self.connection.ready != NULL else None

    def end_late(self, long long now):
        """End the calls whose requests are incomplete after their time; return whether a flush is due."""
        return self.connection.h2 != NULL and end_late(&self.connection, now)

    cpdef void charge(self, long frames):
        """Charge the cost of so many frames for work beside decoding; a spent budget ends the connection."""
        self.connection.budget -= frames * FRAME_COST
        if self.connection.budget < 0:
            self.error_code = NGHTTP2_ENHANCE_YOUR_CALM
            self.request_flush()

    cdef list collect(self):
        """Create Python calls for the ready streams; return the unary ones grouped by handler."""
        cdef list groups = []
        cdef list calls = None
        cdef int method = -1
        cdef H2Stream *stream
        cdef UnaryCall call
        while self.connection.ready != NULL:
            stream = self.connection.ready
            self.connection.ready = stream.next_ready
            if self.error_code or not admit(&self.connection, stream):
                release(stream)
            elif self.server.shared.methods[stream.method].streaming:
                self.opened.append((self.server.handlers[stream.method], self.new_streaming_call(stream)))
            else:
                call = self.new_call(stream)
                if call is None:
                    continue
                if stream.method != method:
                    method = stream.method
                    calls = self.group(groups, self.server.handlers[method])
                calls.append(call)
        return groups

    cdef list group(self, list groups, object handler):
        for known, calls in groups:
            if known is handler:
                return calls
        calls = []
        groups.append((handler, calls))
        return calls

    cdef UnaryCall new_call(self, H2Stream *stream):
        """Create a unary call; it takes over the reference of the ready list. None if it failed to decompress."""
        cdef UnaryCall call = UnaryCall.__new__(UnaryCall)
        cdef bint compressed = stream.inbound.data[stream.inbound.start] != 0
        call.session = self
        call.stream = stream
        call.deadline = stream.deadline
        call.body = PyBytes_FromStringAndSize(
            stream.inbound.data + stream.inbound.start + PREFIX, stream.scanned - PREFIX)
        if stream.metadata.end:
            call.raw_metadata = PyBytes_FromStringAndSize(stream.metadata.data, stream.metadata.end)
        drop_request(stream)
        if compressed and self.inflated(call, stream.encoding) is None:
            return None
        call.hold()
        return call

    cdef UnaryCall inflated(self, UnaryCall call, int encoding):
        """Decompress the message of a call and return it, or fail the call and return None."""
        cdef size_t max_message = self.connection.shared.max_message
        cdef size_t most = min(self.connection.inflatable, max_message)
        self.connection.inflatable -= most  # a message that fails may have cost all of it
        try:
            call.body = inflate(call.body, encoding, most)
        except GrpcError as error:
            # 8: RESOURCE_EXHAUSTED
            call.fail(error.status, TOO_MUCH_AT_ONCE if error.status == 8 and most < max_message else error.message)
            return None
        self.connection.inflatable += most - PyBytes_GET_SIZE(call.body)
        return call

    cdef StreamingCall new_streaming_call(self, H2Stream *stream):
        cdef StreamingCall call = StreamingCall.__new__(StreamingCall)
        call.session = self
        call.stream = stream
        if stream.metadata.end:
            call.raw_metadata = PyBytes_FromStringAndSize(stream.metadata.data, stream.metadata.end)
        stream.streaming_call = <void *>call
        return call

    def take_opened(self):
        """Return [(handler, StreamingCall), ...] for the new streaming calls."""
        opened, self.opened = self.opened, []
        return opened

    def take_notified(self):
        """Return the owners of the streaming calls with an event: a message, the end, or space to send."""
        cdef list owners = []
        cdef H2Stream *stream
        while self.connection.notified != NULL:
            stream = self.connection.notified
            self.connection.notified = stream.next_notified
            stream.in_notified = False
            if stream.streaming_call != NULL and (<StreamingCall>stream.streaming_call).owner is not None:
                owners.append((<StreamingCall>stream.streaming_call).owner)
            release(stream)
        return owners

    def flush(self):
        """Return bytes to write, at most CHUNK plus one frame; empty if there are none at present."""
        return self.flushed()

    cdef bytes flushed(self):
        cdef const uint8_t *frame
        cdef ssize_t n = 1
        self.flush_requested = self.call_dropped = self.more = False
        if self.connection.h2 == NULL:
            return b""
        if self.error_code:
            self.terminate()
        OUTPUT.start = OUTPUT.end = 0
        while n > 0 and OUTPUT.end < CHUNK:
            n = nghttp2_session_mem_send(self.connection.h2, &frame)
            if n > 0 and not put_frame(&OUTPUT, &self.connection, frame, n):
                raise MemoryError
        if n < 0:
            self.terminating = True
        hold_unread(&self.connection)
        self.more = OUTPUT.end >= CHUNK
        return PyBytes_FromStringAndSize(OUTPUT.data, OUTPUT.end) if OUTPUT.end else b""

    cdef void terminate(self):
        """Send GOAWAY with the error code, and nothing after it."""
        nghttp2_session_terminate_session2(
            self.connection.h2, nghttp2_session_get_last_proc_stream_id(self.connection.h2), self.error_code)
        self.error_code = 0
        self.terminating = True

    cdef int enqueue(self, H2Stream *stream, bytes body) except -1:
        if not append_message(&stream.outbound, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)):
            raise MemoryError
        self.connection.unsent += PREFIX + PyBytes_GET_SIZE(body)
        return 0

    cdef int reply(self, H2Stream *stream, bytes body) except -1:
        """Respond to a unary call, or fail it if the client has left too many response bytes unread."""
        cdef int failed
        if self.connection.unsent > self.connection.shared.max_unsent:
            failed = finish(stream, 8, TOO_MANY_UNREAD)
        else:
            self.enqueue(stream, body)
            end_call(stream)
            failed = start_response(stream)
        if failed != 0:
            self.error_code = NGHTTP2_INTERNAL_ERROR
        return 0

    cdef int end(self, H2Stream *stream, int status, str message) except -1:
        cdef bytes text
        cdef char *encoded
        if stream.closed or stream.finished:
            return 0
        # Truncated at a character boundary.
        text = message.encode("utf-8", "replace")[:MESSAGE_BYTES].decode("utf-8", "ignore").encode()
        encoded = <char *>malloc(len(text) * 3 + 1)
        if encoded == NULL:
            raise MemoryError
        encoded[percent_encode(PyBytes_AS_STRING(text), len(text), encoded)] = 0
        if finish(stream, status, encoded) != 0:
            self.error_code = NGHTTP2_INTERNAL_ERROR
        free(encoded)
        return 0

    cdef void abandon(self, H2Stream *stream):
        """Fail a call whose Python object was freed, so that the client does not wait forever.

        The garbage collector may have freed it, and then no Python code may be called. So ``call_dropped`` is set
        instead of calling ``wake``.
        """
        if not (stream.closed or stream.finished):
            if finish(stream, 13, b"the service dropped the call without a response") != 0:
                self.error_code = NGHTTP2_INTERNAL_ERROR
            self.call_dropped = True
        release(stream)

    cdef void request_flush(self):
        """Call ``wake``, unless a flush is already due."""
        if not self.flush_requested and self.wake is not None:
            self.flush_requested = True
            self.wake()

    def shutdown_notice(self):
        """Send the shutdown notice, and a PING whose ACK shows that the client has read it (RFC 9113 6.8)."""
        if self.connection.h2 == NULL:
            return
        self.connection.pong = False
        nghttp2_submit_shutdown_notice(self.connection.h2)
        nghttp2_submit_ping(self.connection.h2, NGHTTP2_FLAG_NONE, NULL)
        self.request_flush()

    def goaway(self):
        """Send GOAWAY with the last stream that will be served; later streams are ignored."""
        if self.connection.h2 == NULL:
            return
        self.connection.leaving = True
        nghttp2_submit_goaway(
            self.connection.h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.connection.h2),
            NGHTTP2_NO_ERROR, NULL, 0)
        self.request_flush()

    @property
    def pong(self):
        """True if the PING of ``shutdown_notice`` was acknowledged."""
        return self.connection.pong

    @property
    def settings_received(self):
        """True if the client has sent the preface and its SETTINGS."""
        return self.connection.settings_received

    @property
    def inflated(self):
        """Bytes to which the messages of the last ``feed`` were decompressed; one that failed counts as the largest."""
        return self.inflated_bytes()

    cdef size_t inflated_bytes(self):
        return READ_INFLATES * self.connection.shared.max_message - self.connection.inflatable

    @property
    def open_calls(self):
        """Number of calls that have not ended."""
        return self.connection.open_calls

    @property
    def in_flight(self):
        """Number of open calls that were passed to the service; the others are incomplete."""
        return self.connection.in_flight

    @property
    def unsent(self):
        """Bytes of responses not yet framed, because flow control holds them back."""
        return self.connection.unsent

    @property
    def sent(self):
        """Bytes of responses framed so far."""
        return self.connection.sent

    @property
    def buffered(self):
        """Bytes held for incomplete requests, for messages not yet taken, and for responses that the client leaves unread."""
        return self.connection.buffered + self.connection.unread

    @property
    def has_stream_events(self):
        """True if there is a new streaming call, or one with an event."""
        return self.connection.notified != NULL or self.opened

    @property
    def done(self):
        """True if nothing more is to be read or written."""
        return self.ended()

    cdef bint ended(self):
        return self.connection.h2 == NULL or self.terminating or not (
            nghttp2_session_want_read(self.connection.h2) or nghttp2_session_want_write(self.connection.h2))

include "_serving.pxi"
