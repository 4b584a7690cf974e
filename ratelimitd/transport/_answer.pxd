"""How an answer leaves: response headers, the message under any window, trailers; and what is refused unasked."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strdup, strlen

from ratelimitd.transport._libnghttp2 cimport *
from ratelimitd.transport._stream cimport Stream, drop_inbound, touch


cdef inline nghttp2_nv fixed(const char *name, const char *value) noexcept nogil:
    """A header of string literals, which libnghttp2 need not copy."""
    cdef nghttp2_nv pair
    pair.name, pair.namelen = <uint8_t *>name, strlen(name)
    pair.value, pair.valuelen = <uint8_t *>value, strlen(value)
    pair.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return pair


cdef inline nghttp2_nv copied(const char *name, const char *value) noexcept nogil:
    """A header whose value libnghttp2 copies."""
    cdef nghttp2_nv pair = fixed(name, value)
    pair.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    return pair


cdef inline size_t head(nghttp2_nv *pairs, Stream *stream) noexcept nogil:
    """The headers that start every response."""
    pairs[0] = fixed(b":status", b"200")
    if stream.content == 2:
        pairs[1] = fixed(b"content-type", b"application/grpc+proto")
    else:
        pairs[1] = fixed(b"content-type", b"application/grpc")
    return 2


cdef inline size_t tail(nghttp2_nv *pairs, int status, const char *message, char *digits) noexcept nogil:
    """The trailers that end every response; ``digits`` has room for a number."""
    if status == 0:
        pairs[0] = fixed(b"grpc-status", b"0")
        return 1
    snprintf(digits, 12, b"%d", status)
    pairs[0] = copied(b"grpc-status", digits)
    if message == NULL or message[0] == 0:
        return 1
    pairs[1] = copied(b"grpc-message", message)
    return 2


cdef inline ssize_t read_answer(
    nghttp2_session *h2, int32_t stream_id, uint8_t *buf, size_t length, uint32_t *data_flags,
    nghttp2_data_source *source, void *user_data) noexcept nogil:
    """libnghttp2's data provider: at most ``length`` bytes, from where the last call stopped."""
    cdef Stream *stream = <Stream *>source.ptr
    cdef nghttp2_nv pairs[2]
    cdef char digits[12]
    cdef size_t n = min(length, stream.outbound.end - stream.outbound.start)
    memcpy(buf, stream.outbound.data + stream.outbound.start, n)
    stream.outbound.start += n
    stream.link.unsent -= n
    stream.link.sent += n
    if stream.outbound.start < stream.outbound.end:
        return n
    if stream.finished:
        data_flags[0] = NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM
        if nghttp2_submit_trailer(h2, stream_id, pairs, tail(pairs, stream.status, stream.message, digits)) != 0:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        return n
    touch(stream)
    if n == 0:
        stream.deferred = True
        return NGHTTP2_ERR_DEFERRED
    return n


cdef inline int start_answer(Stream *stream) noexcept nogil:
    """Send response headers, then whatever is and comes in ``outbound``."""
    cdef nghttp2_nv pairs[2]
    cdef nghttp2_data_provider provider
    provider.source.ptr = stream
    provider.read_callback = read_answer
    stream.answered = True
    return nghttp2_submit_response(stream.link.h2, stream.id, pairs, head(pairs, stream), &provider)


cdef inline int trailers_only(Stream *stream, int status, const char *message) noexcept nogil:
    """Answer without a message; ``message`` is percent-encoded or NULL."""
    cdef nghttp2_nv pairs[5]
    cdef char digits[12]
    cdef size_t n = head(pairs, stream)
    n += tail(pairs + n, status, message, digits)
    if status == 12:  # UNIMPLEMENTED: say what is implemented (grpc/doc/compression.md)
        pairs[n] = fixed(b"grpc-accept-encoding", b"identity")
        n += 1
    stream.answered = stream.finished = True
    drop_inbound(stream)
    return nghttp2_submit_response(stream.link.h2, stream.id, pairs, n, NULL)


cdef inline int http_error(Stream *stream, const char *status) noexcept nogil:
    """Answer one who does not speak gRPC (PROTOCOL-HTTP2.md asks for 415)."""
    cdef nghttp2_nv pairs[1]
    pairs[0] = fixed(b":status", status)
    stream.answered = stream.finished = True
    drop_inbound(stream)
    return nghttp2_submit_response(stream.link.h2, stream.id, pairs, 1, NULL)


cdef inline int finish(Stream *stream, int status, const char *message) noexcept nogil:
    """End the call with a status, after what is in ``outbound``; ``message`` is percent-encoded or NULL."""
    if stream.finished or stream.closed:
        return 0
    if not stream.answered:
        return trailers_only(stream, status, message)
    stream.status = status
    stream.message = NULL if message == NULL else strdup(message)
    stream.finished = True
    drop_inbound(stream)
    return resume(stream)


cdef inline int resume(Stream *stream) noexcept nogil:
    if not stream.deferred:
        return 0
    stream.deferred = False
    return nghttp2_session_resume_data(stream.link.h2, stream.id)
