# Part of _nghttp2.pyx: the state that all connections of a server share.


cdef class ServerState:
    """State shared by the sessions of a server: methods, limits, and the number of calls in flight.

    ``unary`` and ``streams`` map full method names to handlers. ``Session.feed`` returns the handler of a unary
    method with its calls; ``Session.take_opened`` returns the handler of a streaming method with each call.
    """

    cdef Shared shared
    cdef nghttp2_session_callbacks *callbacks
    cdef nghttp2_option *option
    cdef list names
    cdef list handlers
    cdef int max_streams

    def __cinit__(
        self, dict unary not None, dict streams not None, *, size_t max_message, long max_calls, long max_streaming,
        unsigned int max_connection_streaming, int max_streams, unsigned int max_header_bytes, unsigned int max_headers,
        size_t max_buffered, size_t buffered_share, size_t max_connection_buffered, long long max_bodies,
        size_t max_unsent, long wasted_frames, long long request_timeout, bint metadata=False,
        frozenset exclusive not None=frozenset(),
    ):
        cdef int i
        self.names = [name.encode() for name in (*unary, *streams)]
        self.handlers = [*unary.values(), *streams.values()]
        self.max_streams = max_streams
        self.shared = Shared(
            methods=<Method *>calloc(len(self.names) + 1, sizeof(Method)), method_count=len(self.names),
            max_message=max_message, buffered=0, max_buffered=max_buffered, buffered_share=buffered_share,
            request_timeout=request_timeout, max_connection_buffered=max_connection_buffered,
            bodies=0, max_bodies=max_bodies, max_unsent=max_unsent,
            max_header_bytes=max_header_bytes, max_headers=max_headers, frame_rate=wasted_frames, metadata=metadata,
            calls=0, max_calls=max_calls, streaming=0, max_streaming=max_streaming,
            max_connection_streaming=max_connection_streaming)
        if self.shared.methods == NULL:
            raise MemoryError
        for i in range(self.shared.method_count):
            self.shared.methods[i] = Method(
                path=PyBytes_AS_STRING(self.names[i]), length=len(self.names[i]), streaming=i >= len(unary),
                exclusive=self.names[i].decode() in exclusive)
        self.callbacks, self.option = new_callbacks(), new_option()
        if self.callbacks == NULL or self.option == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.shared.methods)
        nghttp2_session_callbacks_del(self.callbacks)
        nghttp2_option_del(self.option)

    @property
    def calls(self):
        """Calls in flight on all connections: unary calls not yet completed, and streaming calls not yet ended."""
        return self.shared.calls + self.shared.streaming
