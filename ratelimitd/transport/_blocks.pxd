"""Header blocks that repeat: recognised in what a client sends, and used again for the trailers of a response.

A block of indexed fields alone (RFC 7541 6.1) changes no table, so the same bytes mean the same fields until a block
of another kind is decoded or encoded. libnghttp2 takes longer to decode and validate the dozen fields of a call than
all else of the call takes: a block that it has decoded is replaced by the shortest that it accepts.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcmp, memcpy

from ratelimitd.transport._libnghttp2 cimport *
from ratelimitd.transport._stream cimport *

cdef enum:
    END_HEADERS = 0x4
    PADDED = 0x8
    WITH_PRIORITY = 0x20
    CONTINUATION = 0x9
    SHORT_BYTES = 6
    NO_TIMEOUT = -1


cdef inline bint indexed(const uint8_t *block, size_t length) noexcept nogil:
    """Whether a block has indexed fields alone."""
    cdef size_t at = 0
    while at < length:
        if block[at] < 0x80:
            return False
        at += 1
        if block[at - 1] == 0xFF:  # an index of several bytes
            while at < length and block[at] >= 0x80:
                at += 1
            at += 1
    return True


cdef inline Known *known_block(H2Connection *connection, const uint8_t *block, size_t length) noexcept nogil:
    cdef int i
    for i in range(KNOWN):
        if connection.known[i].length == length and memcmp(connection.known[i].block, block, length) == 0:
            return &connection.known[i]
    return NULL


cdef inline void forget_blocks(H2Connection *connection) noexcept nogil:
    """A block follows that may change the table of the fields that the client has sent."""
    cdef int i
    for i in range(KNOWN):
        connection.known[i].length = 0


cdef inline void know(H2Stream *stream) noexcept nogil:
    """Keep the block of a valid request, unless another part than its own fields needs it again."""
    cdef H2Connection *connection = stream.connection
    cdef Known *kept
    if connection.unknown == NULL or stream.evaluated or connection.shared.metadata:
        return
    if multiplied(stream, connection.unknown_length):
        return  # each time it is sent, it is charged
    kept = &connection.known[connection.known_at & (KNOWN - 1)]
    connection.known_at += 1
    kept.length = connection.unknown_length
    memcpy(kept.block, connection.unknown, kept.length)
    kept.method, kept.content, kept.encoding = stream.method, stream.content, stream.encoding
    kept.headers, kept.header_bytes = stream.headers, stream.header_bytes
    kept.timeout = stream.deadline - connection.now if stream.deadline else NO_TIMEOUT


cdef inline void take_fields(H2Stream *stream, const Known *known) noexcept nogil:
    """Set what the fields of a known block say."""
    stream.is_post = True
    stream.method, stream.content, stream.encoding = known.method, known.content, known.encoding
    stream.headers, stream.header_bytes = known.headers, known.header_bytes
    stream.deadline = 0 if known.timeout == NO_TIMEOUT else stream.connection.now + known.timeout


cdef inline ssize_t pass_short(H2Connection *connection, const uint8_t *header, Known *known) noexcept nogil:
    """Pass libnghttp2 a HEADERS frame with the fewest fields that it accepts of a request."""
    cdef uint8_t frame[HEADER + SHORT_BYTES]
    cdef ssize_t n
    memcpy(frame, header, HEADER)
    frame[0], frame[1], frame[2] = 0, 0, SHORT_BYTES
    memcpy(frame + HEADER, b"\x83\x86\x84\x01\x01-", SHORT_BYTES)  # POST, http, /, and ":authority: -"
    connection.repeated = known
    n = nghttp2_session_mem_recv(connection.h2, frame, HEADER + SHORT_BYTES)
    connection.repeated = NULL
    return n


cdef inline ssize_t pass_new(
    H2Connection *connection, const uint8_t *frame, const uint8_t *block, size_t length) noexcept nogil:
    """Pass libnghttp2 a HEADERS frame whose block is to be kept."""
    cdef ssize_t n
    connection.unknown, connection.unknown_length = block, <uint8_t>length
    n = nghttp2_session_mem_recv(connection.h2, frame, block + length - frame)
    connection.unknown = NULL
    return n


cdef inline bint is_whole(const uint8_t *header, size_t size, size_t left) noexcept nogil:
    """Whether a frame is HEADERS with a complete block, all of it read, that may be kept."""
    return (header[3] == NGHTTP2_HEADERS and (header[4] & (END_HEADERS | PADDED | WITH_PRIORITY)) == END_HEADERS
            and SHORT_BYTES <= size <= KNOWN_BYTES and size <= left)


cdef inline ssize_t receive(
    H2Connection *connection, const uint8_t *data, size_t length, int64_t *frames) noexcept nogil:
    """Pass received bytes to libnghttp2, and count the frames that begin in them: it does not report those it ignores.

    Returns a negative number if libnghttp2 failed.
    """
    cdef const uint8_t *header
    cdef const uint8_t *block
    cdef Known *known
    cdef size_t at = 0
    cdef size_t passed = 0
    cdef size_t step
    cdef ssize_t n = 0
    while at < length and n >= 0:
        if connection.to_skip:
            step = min(connection.to_skip, length - at)
            connection.to_skip -= step
            at += step
            continue
        if connection.header_end == 0 and length - at >= HEADER:
            header = data + at
            at += HEADER
        else:
            connection.header[connection.header_end] = data[at]
            connection.header_end += 1
            at += 1
            if connection.header_end < HEADER:
                continue
            connection.header_end = 0
            header = connection.header
        connection.to_skip = (<size_t>header[0] << 16) | (<size_t>header[1] << 8) | header[2]
        frames[0] += 1
        if header[3] != NGHTTP2_HEADERS and header[3] != CONTINUATION:
            continue
        block, step = data + at, connection.to_skip
        if header == connection.header or not is_whole(header, step, length - at):
            forget_blocks(connection)
            continue
        known = known_block(connection, block, step)
        if known == NULL and not indexed(block, step):
            forget_blocks(connection)
            continue
        if header > data + passed:
            n = nghttp2_session_mem_recv(connection.h2, data + passed, header - (data + passed))
        if n >= 0:
            n = pass_short(connection, header, known) if known != NULL else pass_new(connection, header, block, step)
        at += step
        passed = at
        connection.to_skip = 0
    if n >= 0 and passed < length:
        n = nghttp2_session_mem_recv(connection.h2, data + passed, length - passed)
    return n


cdef inline bint put_frame(Buffer *out, H2Connection *connection, const uint8_t *frame, size_t length) noexcept nogil:
    """Append a frame of libnghttp2 to the output, and known trailers to the one they follow; False if out of memory."""
    cdef uint8_t trailers[HEADER + TRAILERS_BYTES]
    cdef size_t at
    if frame[3] == NGHTTP2_HEADERS or frame[3] == CONTINUATION:
        learn_trailers(connection, frame, length)
    if not append(out, frame, length):
        return False
    if connection.followed == 0 or frame[3] != NGHTTP2_DATA or frame_stream(frame) != connection.followed:
        return True
    connection.followed = 0
    at = out.end - length
    (<uint8_t *>out.data)[at + 4] &= <uint8_t>~NGHTTP2_FLAG_END_STREAM
    trailers[0], trailers[1], trailers[2], trailers[3] = 0, 0, connection.trailers_length, NGHTTP2_HEADERS
    trailers[4] = END_HEADERS | NGHTTP2_FLAG_END_STREAM
    memcpy(trailers + 5, frame + 5, 4)
    memcpy(trailers + HEADER, connection.trailers, connection.trailers_length)
    return append(out, trailers, HEADER + connection.trailers_length)


cdef inline void learn_trailers(H2Connection *connection, const uint8_t *frame, size_t length) noexcept nogil:
    """Keep a block of plain trailers, or forget it when a block is sent that may change the table."""
    cdef size_t size = length - HEADER
    if not indexed(frame + HEADER, size) or frame[3] == CONTINUATION:
        connection.trailers_length = 0
    elif frame_stream(frame) == connection.plain and frame[4] & NGHTTP2_FLAG_END_STREAM and size <= TRAILERS_BYTES:
        connection.trailers_length = <uint8_t>size
        memcpy(connection.trailers, frame + HEADER, size)


cdef inline int32_t frame_stream(const uint8_t *header) noexcept nogil:
    return (header[5] << 24) | (header[6] << 16) | (header[7] << 8) | header[8]
