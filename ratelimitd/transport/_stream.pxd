"""C state of a connection and of a stream. No code here touches a Python object.

libnghttp2, the lists of the connection and the Python object of the call each hold one reference to a stream. The
last release frees it.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove

from ratelimitd.transport._libnghttp2 cimport nghttp2_session

cdef extern from *:
    """
    #ifdef RATELIMITD_PLANT_UAF
    #define PLANTED_USE_AFTER_FREE 1
    #else
    #define PLANTED_USE_AFTER_FREE 0
    #endif
    """
    const bint PLANTED_USE_AFTER_FREE  # scripts/test-native checks that AddressSanitizer reports it


cdef enum:
    PREFIX = 5                # gRPC message prefix: one byte of flags, four of length
    HEADER = 9                # HTTP/2 frame header
    PREFACE = 24              # HTTP/2 connection preface, in front of the first frame
    FRAME_COST = 1_000_000    # budget units per frame: a rate of n frames per second refills n units per microsecond
    FRAMES_CREDITED = 2       # per response: its receiver sends a WINDOW_UPDATE for the stream and for the connection
    STREAMS_PER_FRAME = 64    # open streams that a frame may make libnghttp2 walk over at the cost of a frame: 0.5 µs
    HEADER_BYTES_PER_FRAME = 64  # of headers that HPACK multiplied, at the cost of a frame: 0.1 µs to validate
    FREE_HEADER_BYTES = 8192  # per header block, beyond twice its size: HPACK's table holds 4096, Huffman packs to 5/8
    BYTES_PER_CREDIT = 1024   # in one DATA frame: a client that opens its window byte by byte earns almost no credit
    LIBRARY_BYTES = 320       # of libnghttp2 for a stream: its struct, its place in a map, malloc's own
    ANSWER_BYTES = 192        # of libnghttp2 for a response that waits for the client's window
    KNOWN = 4                 # header blocks of requests that are kept for a connection: a power of two
    KNOWN_BYTES = 40          # of one of them: a dozen fields, some of them with an index of two bytes
    TRAILERS_BYTES = 4        # of the trailers of a successful response, which have one field
    ENDED = 128               # streams that were reset, of which the client may not know: a power of two
    HTTP_ANSWER = -1          # in place of a grpc-status


cdef enum:                    # grpc-encoding
    IDENTITY                  # or absent
    GZIP
    DEFLATE
    UNSUPPORTED


cdef struct Buffer:
    char *data
    size_t start
    size_t end
    size_t capacity


cdef struct Method:
    const char *path
    size_t length
    bint streaming
    bint exclusive                # see Handlers.exclusive


cdef struct Shared:               # one per server
    Method *methods
    int method_count
    size_t max_message
    size_t buffered               # sum of H2Connection.buffered and .unread over all connections
    size_t max_buffered           # above it a connection may hold no more than its share
    size_t buffered_share
    size_t max_connection_buffered
    int64_t request_timeout       # µs from the first byte of a request until it must be complete
    int64_t bodies                # sum of H2Connection.bodies over all connections
    int64_t max_bodies
    size_t max_unsent
    uint32_t max_header_bytes
    uint32_t max_headers
    int64_t frame_rate            # frames without useful work: allowed per second, and as a burst
    bint metadata                 # keep the request headers
    int64_t calls                 # unary calls in flight
    int64_t max_calls
    int64_t streaming             # streaming calls in flight
    int64_t max_streaming
    uint32_t max_connection_streaming


cdef struct Known:                # a header block of indexed fields, and what they say
    uint8_t block[KNOWN_BYTES]
    uint8_t length                # 0: none
    uint8_t content
    uint8_t encoding
    int method
    int64_t timeout               # µs
    uint32_t header_bytes
    uint32_t headers


cdef struct H2Connection:         # one per connection
    nghttp2_session *h2
    Shared *shared
    H2Stream *streams
    H2Stream *current             # the stream of the last frame; saves most look-ups
    H2Stream *ready               # complete unary calls and new streaming calls, in order
    H2Stream *ready_last
    H2Stream *notified            # streaming calls with an event
    int64_t now
    int64_t budget                # in units of 1/FRAME_COST frame
    int64_t due                   # no request that is incomplete is late before
    size_t buffered               # bytes held for incomplete requests and for messages not yet taken
    int64_t bodies                # bytes of unary calls that the service has, or that wait for it: messages and kept headers
    size_t inflatable             # bytes that the messages of this read may still decompress to
    size_t unsent                 # response bytes not yet framed
    size_t unread                 # bytes held for ended calls that the client has not read, at the last flush
    uint32_t ended_calls          # streams that are ended and not closed
    uint64_t sent                 # response bytes framed so far
    uint32_t open_calls           # streams that are not closed
    uint32_t in_flight            # open calls that were passed to the service
    uint32_t streaming            # streaming calls in flight
    bint exclusive                # one of them is exclusive, and not half-closed
    bint pong                     # the PING of shutdown_notice() was acknowledged
    bint settings_received        # the first SETTINGS frame of the client arrived
    uint8_t header[HEADER]        # first bytes of a frame header that a read cut off
    uint8_t header_end
    size_t to_skip                # remaining bytes of a frame payload or of the preface
    uint32_t fault                # HTTP/2 error code, if a callback failed
    bint leaving                  # the last GOAWAY was sent: later streams are ignored
    int32_t last_id               # of the newest stream that the client has begun
    int32_t ended[ENDED]          # the last streams that were reset by the server
    uint8_t ended_at
    Known known[KNOWN]            # while no other block has changed the table of fields
    uint8_t known_at
    Known *repeated               # the block of the frame that libnghttp2 has got in place of another
    const uint8_t *unknown        # the block that libnghttp2 decodes, if it may be kept
    uint8_t unknown_length
    uint8_t trailers[TRAILERS_BYTES]
    uint8_t trailers_length       # 0: unknown
    int32_t plain                 # the last stream for which libnghttp2 was given the trailers of a success
    int32_t followed              # the stream whose DATA frame, which libnghttp2 returns next, known trailers follow


cdef struct H2Stream:
    int32_t id
    uint8_t refs
    bint closed                   # libnghttp2 has closed the stream
    bint in_flight                # passed to the service
    bint streaming                # passed to the service, and counted as a streaming call
    bint exclusive                # it is the connection's exclusive call
    bint half_closed              # the client has sent END_STREAM
    bint response_started         # response headers or Trailers-Only were submitted
    bint finished                 # nothing follows the bytes in ``outbound``
    bint deferred                 # the data provider waits for more bytes
    bint in_notified              # in the connection's list ``notified``
    bint is_post
    bint is_head
    bint bad_timeout
    bint evaluated                # libnghttp2 itself needs one of its fields
    uint8_t encoding              # grpc-encoding, as in the enum
    uint8_t content               # 0 not gRPC, 1 application/grpc, 2 application/grpc+proto
    int method
    uint32_t header_bytes
    uint32_t headers
    int64_t deadline
    int64_t born                  # time of its first HEADERS frame
    size_t held                   # its part of H2Connection.buffered
    size_t scanned                # offset of the first incomplete message from inbound.start
    uint32_t complete             # complete messages in front of it
    size_t unconsumed             # bytes not yet returned to the stream's flow-control window
    int status                    # grpc-status of the trailers
    char *message
    Buffer inbound
    Buffer outbound
    Buffer metadata
    H2Connection *connection
    H2Stream *previous
    H2Stream *next
    H2Stream *next_ready
    H2Stream *next_notified
    void *streaming_call          # borrowed reference to the StreamingCall


cdef inline bint reserve(Buffer *buffer, size_t length) noexcept nogil:
    """Ensure space for ``length`` more bytes at the end; False if out of memory."""
    cdef size_t used = buffer.end - buffer.start
    cdef size_t capacity
    cdef char *grown
    if buffer.end + length <= buffer.capacity:
        return True
    if buffer.start:
        memmove(buffer.data, buffer.data + buffer.start, used)
        buffer.start, buffer.end = 0, used
    if used + length > buffer.capacity:
        capacity = used + length if buffer.capacity == 0 else (used + length) // 4 * 5 + 4
        grown = <char *>realloc(buffer.data, capacity)
        if grown == NULL:
            return False
        buffer.data, buffer.capacity = grown, capacity
    return True


cdef inline bint append(Buffer *buffer, const void *data, size_t length) noexcept nogil:
    """Append bytes; False if out of memory."""
    if not reserve(buffer, length):
        return False
    memcpy(buffer.data + buffer.end, data, length)
    buffer.end += length
    return True


cdef inline bint append_message(Buffer *buffer, const char *body, size_t length) noexcept nogil:
    """Append a message with its gRPC prefix; False if out of memory."""
    cdef uint8_t *prefix
    if not reserve(buffer, PREFIX + length):
        return False
    prefix = <uint8_t *>buffer.data + buffer.end
    prefix[0] = 0
    prefix[1], prefix[2], prefix[3] = <uint8_t>(length >> 24), <uint8_t>(length >> 16), <uint8_t>(length >> 8)
    prefix[4] = <uint8_t>length
    buffer.end += PREFIX
    return append(buffer, body, length)


cdef inline void clear(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.start = buffer.end = buffer.capacity = 0


cdef inline H2Stream *new_stream(H2Connection *connection, int32_t id) noexcept nogil:
    """Return a new stream, linked into the connection, with libnghttp2's reference; NULL if out of memory."""
    cdef H2Stream *stream = <H2Stream *>calloc(1, sizeof(H2Stream))
    if stream == NULL:
        return NULL
    stream.id = id
    stream.refs = 1
    stream.method = -1
    stream.connection = connection
    stream.born = connection.now
    stream.next = connection.streams
    if connection.streams != NULL:
        connection.streams.previous = stream
    connection.streams = stream
    connection.open_calls += 1
    connection.due = min(connection.due, connection.now + connection.shared.request_timeout)
    hold(stream, call_bytes())
    return stream


cdef inline bint multiplied(H2Stream *stream, size_t block) noexcept nogil:
    """Whether a header block of so many bytes has decoded to more than honest use of HPACK makes of it.

    libnghttp2 validates each byte of a header, also of one that a single byte on the wire refers to.
    """
    return stream.header_bytes - 32 * <size_t>stream.headers > FREE_HEADER_BYTES + 2 * block


cdef inline size_t call_bytes() noexcept nogil:
    """Return what a call holds that has sent no more than its headers."""
    return sizeof(H2Stream) + LIBRARY_BYTES


cdef inline void hold(H2Stream *stream, ssize_t change) noexcept nogil:
    """Change the number of bytes that the client makes the server hold for this stream."""
    stream.held += change
    stream.connection.buffered += change
    stream.connection.shared.buffered += change


cdef inline void hold_messages_only(H2Stream *stream) noexcept nogil:
    """Hold a streaming call no longer, which ``max_streaming`` bounds, but its messages that are not yet taken."""
    hold(stream, <ssize_t>(stream.inbound.end - stream.inbound.start) - <ssize_t>stream.held)


cdef inline void hold_unread(H2Connection *connection) noexcept nogil:
    """Hold what a flush has left behind: the client grants no window for it."""
    cdef size_t unread = connection.unsent + connection.ended_calls * (call_bytes() + ANSWER_BYTES)
    connection.shared.buffered += unread - connection.unread
    connection.unread = unread


cdef inline bint holds_too_much(H2Connection *connection) noexcept nogil:
    return connection.buffered + connection.unread > connection.shared.max_connection_buffered


cdef inline bint over_share(H2Connection *connection) noexcept nogil:
    """Whether all connections together hold too much, and this one more than its share of it."""
    cdef Shared *shared = connection.shared
    return shared.buffered > shared.max_buffered and connection.buffered + connection.unread > shared.buffered_share


cdef inline void end_call(H2Stream *stream) noexcept nogil:
    """Mark that nothing follows the bytes in ``outbound``."""
    stream.connection.ended_calls += not stream.finished
    stream.finished = True


cdef inline void drop_request(H2Stream *stream) noexcept nogil:
    """Drop what was received, and hold the stream no longer."""
    if stream.connection != NULL:
        hold(stream, -<ssize_t>stream.held)
    clear(&stream.inbound)
    stream.scanned = stream.complete = 0


cdef inline void release(H2Stream *stream) noexcept nogil:
    """Drop one reference; the last one frees the stream."""
    stream.refs -= 1
    if stream.refs == 0:
        clear(&stream.inbound)
        clear(&stream.outbound)
        clear(&stream.metadata)
        free(stream.message)
        free(stream)


cdef inline void make_way(H2Stream *stream) noexcept nogil:
    """Let another exclusive call follow: the client has ended its side of this one."""
    if stream.exclusive:
        stream.exclusive = stream.connection.exclusive = False


cdef inline void uncount_streaming(H2Stream *stream) noexcept nogil:
    """Stop counting a streaming call: its stream was closed, or its Python object was freed."""
    if stream.connection != NULL:
        make_way(stream)
    if stream.streaming:
        stream.streaming = False
        stream.connection.streaming -= 1
        stream.connection.shared.streaming -= 1


cdef inline void close_stream(H2Stream *stream) noexcept nogil:
    """Unlink a stream that libnghttp2 has closed from its connection, and drop libnghttp2's reference."""
    cdef H2Connection *connection = stream.connection
    stream.closed = True
    drop_request(stream)
    connection.unsent -= stream.outbound.end - stream.outbound.start
    clear(&stream.outbound)
    if stream.previous != NULL:
        stream.previous.next = stream.next
    else:
        connection.streams = stream.next
    if stream.next != NULL:
        stream.next.previous = stream.previous
    if connection.current == stream:
        connection.current = NULL
    connection.open_calls -= 1
    connection.in_flight -= stream.in_flight
    connection.ended_calls -= stream.finished
    uncount_streaming(stream)
    notify(stream)
    stream.connection = NULL
    if PLANTED_USE_AFTER_FREE and stream.refs > 1:
        free(stream)
        return
    release(stream)


cdef inline void make_ready(H2Stream *stream) noexcept nogil:
    """Append the stream to the connection's list of ready calls."""
    cdef H2Connection *connection = stream.connection
    stream.refs += 1
    stream.next_ready = NULL
    if connection.ready == NULL:
        connection.ready = stream
    else:
        connection.ready_last.next_ready = stream
    connection.ready_last = stream


cdef inline void notify(H2Stream *stream) noexcept nogil:
    """Mark that a streaming call has an event: a message, its end, or space to send."""
    if stream.streaming_call == NULL or stream.in_notified or stream.connection == NULL:
        return
    stream.refs += 1
    stream.in_notified = True
    stream.next_notified = stream.connection.notified
    stream.connection.notified = stream
