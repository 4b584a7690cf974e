"""What one connection and one stream hold in C, and how bytes become messages. No Python object is touched here.

A stream is shared by libnghttp2, the lists of its connection and the Python object that answers it; each holds one
reference, and the last one to leave frees it.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memmove, strlen
from posix.strings cimport strncasecmp

from ratelimitd.transport._libnghttp2 cimport nghttp2_session

cdef extern from *:
    """
    #ifdef RATELIMITD_PLANT_UAF
    #define PLANTED_USE_AFTER_FREE 1
    #else
    #define PLANTED_USE_AFTER_FREE 0
    #endif
    """
    const bint PLANTED_USE_AFTER_FREE  # for scripts/test-native, which must see it reported


cdef enum:
    PREFIX = 5                # gRPC: one byte of flags, four of length
    HEADER = 9                # HTTP/2: of a frame
    PREFACE = 24              # HTTP/2: before the first frame
    FRAME_COST = 1_000_000    # what each frame costs and work earns back; a connection earns more by the microsecond
    FRAMES_EARNED = 2         # a receiver answers what it read with a WINDOW_UPDATE for the stream and the connection
    BYTES_TO_EARN = 1024      # of one DATA frame for all of that; a caller that grants byte by byte earns next to nothing


cdef struct Buffer:
    char *data
    size_t start
    size_t end
    size_t room


cdef struct Method:
    const char *path
    size_t length
    bint streaming


cdef struct Setup:                # one a server
    Method *methods
    int method_count
    size_t max_message
    size_t buffered               # as of one connection, of all
    size_t max_buffered
    size_t max_link_buffered
    size_t max_unsent
    uint32_t max_header_bytes
    uint32_t max_headers
    int64_t frame_rate            # frames without work, a second and at once
    bint metadata                 # keep what the caller sent
    int64_t calls                 # unary ones in flight
    int64_t max_calls
    int64_t streaming             # streaming ones in flight
    int64_t max_streaming
    uint32_t max_link_streaming   # of one connection


cdef struct Link:                 # one a connection
    nghttp2_session *h2
    Setup *setup
    Stream *streams
    Stream *current               # the stream of the last frame; saves most look-ups
    Stream *ready                 # complete calls and new streaming calls, in order
    Stream *ready_last
    Stream *touched               # streaming calls with news
    int64_t now
    int64_t budget
    size_t buffered               # bytes of messages not yet taken
    size_t unsent                 # bytes of answers not yet framed
    uint64_t sent                 # bytes of answers framed so far
    uint32_t open                 # calls not yet over
    uint32_t serving              # of those, the ones handed out
    uint32_t streaming            # of those, the ones that stream
    bint pong
    bint greeted                  # the caller's first SETTINGS came
    uint8_t header[HEADER]        # of a frame, when a read ended in it
    uint8_t header_end
    size_t to_skip                # of a frame's payload, or of the preface


cdef struct Stream:
    int32_t id
    uint8_t refs
    bint closed                   # libnghttp2 is done with it
    bint serving                  # handed out
    bint streaming                # handed out, and counted among those that stream
    bint half_closed              # the caller has sent all
    bint answered                 # response headers, or the refusal, are under way
    bint finished                 # nothing follows what is in ``outbound``
    bint deferred                 # the data provider waits for more
    bint listed_touched
    bint post
    bint encoded                  # grpc-encoding names a compression
    bint bad_timeout
    uint8_t content               # 0 not gRPC, 1 application/grpc, 2 application/grpc+proto
    int method
    uint32_t header_bytes
    uint32_t headers
    int64_t deadline
    size_t scanned                # where the first incomplete message starts, from inbound.start
    uint32_t complete             # whole messages before it
    size_t held                   # bytes whose window is given back when they are taken
    int status                    # of the trailers
    char *message
    Buffer inbound
    Buffer outbound
    Buffer metadata
    Link *link
    Stream *previous
    Stream *next
    Stream *next_ready
    Stream *next_touched
    void *pipe                    # the streaming call's Python object, borrowed


cdef inline bint reserve(Buffer *buffer, size_t length) noexcept nogil:
    """Make room for so many bytes at the end; False without memory."""
    cdef size_t used = buffer.end - buffer.start
    cdef size_t room
    cdef char *grown
    if buffer.end + length <= buffer.room:
        return True
    if buffer.start:
        memmove(buffer.data, buffer.data + buffer.start, used)
        buffer.start, buffer.end = 0, used
    if used + length > buffer.room:
        room = used + length if buffer.room == 0 else (used + length) * 2
        grown = <char *>realloc(buffer.data, room)
        if grown == NULL:
            return False
        buffer.data, buffer.room = grown, room
    return True


cdef inline bint append(Buffer *buffer, const void *data, size_t length) noexcept nogil:
    """Copy bytes to the end; False without memory."""
    if not reserve(buffer, length):
        return False
    memcpy(buffer.data + buffer.end, data, length)
    buffer.end += length
    return True


cdef inline bint append_message(Buffer *buffer, const char *body, size_t length) noexcept nogil:
    """Copy a message in its frame to the end; False without memory."""
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
    buffer.start = buffer.end = buffer.room = 0


cdef inline Stream *new_stream(Link *link, int32_t id) noexcept nogil:
    """Return a stream with libnghttp2's reference, in the connection's list; NULL without memory."""
    cdef Stream *stream = <Stream *>calloc(1, sizeof(Stream))
    if stream == NULL:
        return NULL
    stream.id = id
    stream.refs = 1
    stream.method = -1
    stream.link = link
    stream.next = link.streams
    if link.streams != NULL:
        link.streams.previous = stream
    link.streams = stream
    link.open += 1
    return stream


cdef inline void hold(Link *link, ssize_t change) noexcept nogil:
    """So many bytes of messages more, or less."""
    link.buffered += change
    link.setup.buffered += change


cdef inline void drop_inbound(Stream *stream) noexcept nogil:
    if stream.link != NULL:
        hold(stream.link, -<ssize_t>(stream.inbound.end - stream.inbound.start))
    clear(&stream.inbound)
    stream.scanned = stream.complete = 0


cdef inline void release(Stream *stream) noexcept nogil:
    """Give one reference back."""
    stream.refs -= 1
    if stream.refs == 0:
        clear(&stream.inbound)
        clear(&stream.outbound)
        clear(&stream.metadata)
        free(stream.message)
        free(stream)


cdef inline void count_off(Stream *stream) noexcept nogil:
    """A streaming call is over when its stream is, or when nobody serves it any more."""
    if stream.streaming:
        stream.streaming = False
        stream.link.streaming -= 1
        stream.link.setup.streaming -= 1


cdef inline void close_stream(Stream *stream) noexcept nogil:
    """libnghttp2 is done with it: it leaves the connection, and libnghttp2's reference goes."""
    cdef Link *link = stream.link
    stream.closed = True
    drop_inbound(stream)
    link.unsent -= stream.outbound.end - stream.outbound.start
    clear(&stream.outbound)
    if stream.previous != NULL:
        stream.previous.next = stream.next
    else:
        link.streams = stream.next
    if stream.next != NULL:
        stream.next.previous = stream.previous
    if link.current == stream:
        link.current = NULL
    link.open -= 1
    link.serving -= stream.serving
    count_off(stream)
    touch(stream)
    stream.link = NULL
    if PLANTED_USE_AFTER_FREE and stream.refs > 1:
        free(stream)
        return
    release(stream)


cdef inline void make_ready(Stream *stream) noexcept nogil:
    cdef Link *link = stream.link
    stream.refs += 1
    stream.next_ready = NULL
    if link.ready == NULL:
        link.ready = stream
    else:
        link.ready_last.next_ready = stream
    link.ready_last = stream


cdef inline void touch(Stream *stream) noexcept nogil:
    """A streaming call has news for the one who serves it."""
    if stream.pipe == NULL or stream.listed_touched or stream.link == NULL:
        return
    stream.refs += 1
    stream.listed_touched = True
    stream.next_touched = stream.link.touched
    stream.link.touched = stream


cdef inline size_t message_length(const char *prefix) noexcept nogil:
    cdef const uint8_t *p = <const uint8_t *>prefix
    return (<size_t>p[1] << 24) | (<size_t>p[2] << 16) | (<size_t>p[3] << 8) | p[4]


cdef inline int find_method(Setup *setup, const uint8_t *path, size_t length) noexcept nogil:
    cdef int i
    for i in range(setup.method_count):
        if setup.methods[i].length == length and memcmp(setup.methods[i].path, path, length) == 0:
            return i
    return -1


cdef inline uint8_t content_type(const uint8_t *value, size_t length) noexcept nogil:
    """gRPC's own content types (PROTOCOL-HTTP2.md), in any case (RFC 9110 8.3.1): 0 for any other, 2 for +proto."""
    cdef size_t at = 16
    cdef size_t subtype
    if length < 16 or strncasecmp(<const char *>value, b"application/grpc", 16) != 0:
        return 0
    if at < length and value[at] == c'+':
        while at < length and value[at] != c' ' and value[at] != c'\t' and value[at] != c';':
            at += 1
    subtype = at - 16
    while at < length and (value[at] == c' ' or value[at] == c'\t'):  # RFC 9110 5.6.6
        at += 1
    if subtype == 1 or (at < length and value[at] != c';'):
        return 0
    return 2 if subtype == 6 and strncasecmp(<const char *>value + 16, b"+proto", 6) == 0 else 1


cdef inline int64_t timeout(const uint8_t *value, size_t length) noexcept nogil:
    """grpc-timeout in µs, at most eight digits and a unit (PROTOCOL-HTTP2.md), rounded up; -1 when it is not one."""
    cdef int64_t amount = 0
    cdef size_t i
    if length < 2 or length > 9:
        return -1
    for i in range(length - 1):
        if value[i] < c'0' or value[i] > c'9':
            return -1
        amount = amount * 10 + (value[i] - c'0')
    cdef uint8_t unit = value[length - 1]
    if unit == c'n':
        return (amount + 999) // 1000
    if unit == c'u':
        return amount
    if unit == c'm':
        return amount * 1_000
    if unit == c'S':
        return amount * 1_000_000
    if unit == c'M':
        return amount * 60_000_000
    return amount * 3_600 * 1_000_000 if unit == c'H' else -1


cdef inline size_t percent_encode(const char *text, size_t length, char *out) noexcept nogil:
    """Write grpc-message's encoding of UTF-8 bytes (PROTOCOL-HTTP2.md) to ``out``, of three times their room.

    A space at either end is encoded too: a field's value loses it on the way (RFC 9110 5.5).
    """
    cdef const char *digits = b"0123456789ABCDEF"
    cdef size_t n = 0
    cdef size_t i
    cdef uint8_t byte
    for i in range(length):
        byte = <uint8_t>text[i]
        if 0x20 <= byte <= 0x7E and byte != c'%' and (byte != c' ' or 0 < i < length - 1):
            out[n] = text[i]
            n += 1
        else:
            out[n], out[n + 1], out[n + 2] = c'%', digits[byte >> 4], digits[byte & 15]
            n += 3
    return n
