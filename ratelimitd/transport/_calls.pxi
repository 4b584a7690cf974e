# Part of _nghttp2.pyx: the two kinds of calls that a session passes to the service, and the decoding of their messages.


cdef bytes inflate(bytes message, int encoding, size_t most):
    return decompressed(message, "gzip" if encoding == GZIP else "deflate", most)


@cython.final
@cython.no_gc  # refers only to its session and to bytes; close() breaks every reference cycle through a session
@cython.freelist(256)
cdef class UnaryCall:
    """A unary call. ``respond`` or ``fail`` completes it; on a completed or cancelled call they have no effect."""

    cdef Session session
    cdef H2Stream *stream         # NULL once completed
    cdef bytes raw_metadata
    cdef Py_ssize_t held          # its part of H2Connection.bodies
    cdef readonly bytes body
    cdef readonly long long deadline

    def respond(self, bytes body not None):
        """Complete the call with a response message."""
        cdef H2Stream *stream = self.stream
        if stream == NULL:
            return
        if not stream.response_started and not stream.closed:
            self.session.reply(stream, body)
        self.detach()

    def fail(self, int status, str message not None):
        """Complete the call with an error status."""
        if self.stream == NULL:
            return
        self.session.end(self.stream, status, message)
        self.detach()

    cdef void detach(self):
        release(self.stream)
        self.stream = NULL
        self.uncount()
        self.session.request_flush()

    cdef void hold(self):
        """Count the message, and the headers that are kept, until the call is completed."""
        self.held = PyBytes_GET_SIZE(self.body)
        if self.raw_metadata is not None:
            self.held += PyBytes_GET_SIZE(self.raw_metadata)
        self.session.connection.bodies += self.held
        self.session.server.shared.bodies += self.held

    cdef void uncount(self):
        self.session.connection.bodies -= self.held
        self.session.server.shared.bodies -= self.held
        self.session.server.shared.calls -= 1

    @property
    def answered(self):
        """True if the call is completed or cancelled, so that no response can be sent."""
        return self.is_answered()

    cdef bint is_answered(self):
        return self.stream == NULL or self.stream.closed

    @property
    def metadata(self):
        """Request headers by lower-case name, ``-bin`` values decoded; empty unless the server keeps metadata."""
        return decode_metadata(self.raw_metadata)

    def __dealloc__(self):
        if self.stream != NULL:
            self.session.abandon(self.stream)
            self.uncount()


@cython.final
@cython.no_gc_clear  # __dealloc__ uses the session
cdef class StreamingCall:
    """A streaming call: ``take`` requests, ``send`` responses, ``finish`` it."""

    cdef Session session
    cdef H2Stream *stream
    cdef bytes raw_metadata
    cdef public object owner      # the object that take_notified() returns when this call has an event

    def take(self):
        """Return the next complete request message, or None if there is none yet. A message costs as much as a frame.

        Raises GrpcError for a message that cannot be decompressed; the call must then be ended with its status.
        """
        cdef H2Stream *stream = self.stream
        cdef size_t length
        cdef bint compressed
        if stream.complete == 0:
            return None
        self.session.charge(1)  # a DATA frame may have thousands of messages
        compressed = stream.inbound.data[stream.inbound.start] != 0
        length = message_length(stream.inbound.data + stream.inbound.start)
        body = PyBytes_FromStringAndSize(stream.inbound.data + stream.inbound.start + PREFIX, length)
        stream.inbound.start += PREFIX + length
        stream.scanned -= PREFIX + length
        stream.complete -= 1
        hold(stream, -<ssize_t>(PREFIX + length))
        if stream.complete == 0 and stream.unconsumed:
            return_window(stream)
            self.session.request_flush()
        return inflate(body, stream.encoding, self.session.server.shared.max_message) if compressed else body

    def send(self, bytes body not None):
        """Queue a response message; no effect if the call has ended."""
        cdef H2Stream *stream = self.stream
        if stream.closed or stream.finished:
            return
        self.session.enqueue(stream, body)
        if (resume(stream) if stream.response_started else start_response(stream)) != 0:
            self.session.error_code = NGHTTP2_INTERNAL_ERROR
        self.session.request_flush()

    def finish(self, int status, str message not None):
        """End the call with a status, after the queued messages; no effect if the call has ended."""
        self.session.end(self.stream, status, message)
        self.session.request_flush()

    @property
    def readable(self):
        """True if ``take`` returns a message, or raises."""
        return self.stream.complete > 0

    @property
    def half_closed(self):
        """True if no further request message can arrive; ``take`` still returns the ones received."""
        return self.stream.half_closed or self.stream.closed

    @property
    def closed(self):
        """True if nothing more can be sent."""
        return self.stream.closed or self.stream.finished

    @property
    def unsent(self):
        """Bytes of queued responses that flow control has not let through yet."""
        return self.stream.outbound.end - self.stream.outbound.start

    @property
    def metadata(self):
        """Request headers by lower-case name, ``-bin`` values decoded; empty unless the server keeps metadata."""
        return decode_metadata(self.raw_metadata)

    def __dealloc__(self):
        if self.stream != NULL:
            self.stream.streaming_call = NULL
            uncount_streaming(self.stream)
            self.session.abandon(self.stream)
