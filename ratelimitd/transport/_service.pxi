# Part of _nghttp2.pyx: what the connections of one server share.


cdef class Service:
    """What the sessions of one server share: methods, bounds, the count of calls in flight.

    ``unary`` and ``streams`` map full method names to whatever ``Session.feed`` is to return beside their calls.
    """

    cdef Setup setup
    cdef nghttp2_session_callbacks *callbacks
    cdef nghttp2_option *option
    cdef list names
    cdef list handlers
    cdef int max_streams

    def __cinit__(
        self, dict unary not None, dict streams not None, *, size_t max_message, long max_calls, long max_streaming,
        unsigned int max_link_streaming, int max_streams, unsigned int max_header_bytes, unsigned int max_headers,
        size_t max_buffered, size_t max_link_buffered, size_t max_unsent, long wasted_frames, bint metadata=False,
    ):
        cdef int i
        self.names = [name.encode() for name in (*unary, *streams)]
        self.handlers = [*unary.values(), *streams.values()]
        self.max_streams = max_streams
        self.setup = Setup(
            methods=<Method *>calloc(len(self.names) + 1, sizeof(Method)), method_count=len(self.names),
            max_message=max_message, buffered=0, max_buffered=max_buffered, max_link_buffered=max_link_buffered,
            max_unsent=max_unsent,
            max_header_bytes=max_header_bytes, max_headers=max_headers, frame_rate=wasted_frames, metadata=metadata,
            calls=0, max_calls=max_calls, streaming=0, max_streaming=max_streaming,
            max_link_streaming=max_link_streaming)
        if self.setup.methods == NULL:
            raise MemoryError
        for i in range(self.setup.method_count):
            self.setup.methods[i] = Method(
                path=PyBytes_AS_STRING(self.names[i]), length=len(self.names[i]), streaming=i >= len(unary))
        self.callbacks, self.option = new_callbacks(), new_option()
        if self.callbacks == NULL or self.option == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.setup.methods)
        nghttp2_session_callbacks_del(self.callbacks)
        nghttp2_option_del(self.option)

    @property
    def calls(self):
        """Calls in flight on all connections: handed out and not answered, or for one that streams not over."""
        return self.setup.calls + self.setup.streaming
