# Part of _nghttp2.pyx: the two kinds of calls a session hands out.


@cython.final
@cython.no_gc  # refers to its session and bytes only, and close() ends every cycle a session is part of
@cython.freelist(256)
cdef class Call:
    """One unary call. ``respond`` or ``fail`` answers it; a second answer, or one to a cancelled call, does nothing."""

    cdef Session session
    cdef Stream *stream           # NULL once answered
    cdef bytes kept
    cdef readonly bytes body
    cdef readonly long long deadline

    def respond(self, bytes body not None):
        """Answer with a message."""
        cdef Stream *stream = self.stream
        if stream == NULL:
            return
        if not stream.answered and not stream.closed:
            self.session.reply(stream, body)
        self.leave()

    def fail(self, int status, str message not None):
        """Answer with an error."""
        if self.stream == NULL:
            return
        self.session.end(self.stream, status, message)
        self.leave()

    cdef void leave(self):
        release(self.stream)
        self.stream = NULL
        self.session.service.setup.calls -= 1
        self.session.stir()

    @property
    def answered(self):
        """Nothing more can be said to the caller."""
        return self.stream == NULL or self.stream.closed

    @property
    def metadata(self):
        """The caller's headers by lower-case name, ``-bin`` ones decoded; empty unless the service keeps them."""
        return decode_metadata(self.kept)

    def __dealloc__(self):
        if self.stream != NULL:
            self.session.drop(self.stream)
            self.session.service.setup.calls -= 1


@cython.final
@cython.no_gc_clear  # __dealloc__ needs its session
cdef class Pipe:
    """One streaming call: ``take`` requests, ``send`` responses, ``finish`` it."""

    cdef Session session
    cdef Stream *stream
    cdef bytes kept
    cdef public object owner      # whom news is for

    def take(self):
        """Return the next whole request message, None when there is none yet."""
        cdef Stream *stream = self.stream
        cdef size_t length
        if stream.complete == 0:
            return None
        length = message_length(stream.inbound.data + stream.inbound.start)
        body = PyBytes_FromStringAndSize(stream.inbound.data + stream.inbound.start + PREFIX, length)
        stream.inbound.start += PREFIX + length
        stream.scanned -= PREFIX + length
        stream.complete -= 1
        hold(stream.link, -<ssize_t>(PREFIX + length))
        if stream.complete == 0 and stream.held:
            give_window(stream)
            self.session.stir()
        return body

    def send(self, bytes body not None):
        """Queue a response message; nothing when the call is over."""
        cdef Stream *stream = self.stream
        if stream.closed or stream.finished:
            return
        self.session.enqueue(stream, body)
        if (resume(stream) if stream.answered else start_answer(stream)) != 0:
            self.session.fault = NGHTTP2_INTERNAL_ERROR
        self.session.stir()

    def finish(self, int status, str message not None):
        """End the call after what was sent; nothing when it is over."""
        self.session.end(self.stream, status, message)
        self.session.stir()

    @property
    def ended(self):
        """The caller sends no more than what ``take`` still returns."""
        return self.stream.half_closed or self.stream.closed

    @property
    def over(self):
        """Nothing can be sent any more."""
        return self.stream.closed or self.stream.finished

    @property
    def unsent(self):
        """Bytes sent that wait for the caller to read."""
        return self.stream.outbound.end - self.stream.outbound.start

    @property
    def metadata(self):
        """The caller's headers by lower-case name, ``-bin`` ones decoded; empty unless the service keeps them."""
        return decode_metadata(self.kept)

    def __dealloc__(self):
        if self.stream != NULL:
            self.stream.pipe = NULL
            count_off(self.stream)
            self.session.drop(self.stream)
