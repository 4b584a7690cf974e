"""Responses: headers, the message within any flow-control window, and trailers; also the transport's own rejections."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strdup, strlen

from ratelimitd.transport._libnghttp2 cimport *
from ratelimitd.transport._stream cimport (
    HTTP_ANSWER, IDENTITY, H2Connection, H2Stream, append, drop_request, end_call, holds_too_much, notify, over_share)


cdef inline nghttp2_nv fixed(const char *name, const char *value) noexcept nogil:
    """Return a header made of string literals, which libnghttp2 need not copy."""
    cdef nghttp2_nv pair
    pair.name, pair.namelen = <uint8_t *>name, strlen(name)
    pair.value, pair.valuelen = <uint8_t *>value, strlen(value)
    pair.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return pair


cdef inline nghttp2_nv copied(const char *name, const char *value) noexcept nogil:
    """Return a header whose value libnghttp2 copies."""
    cdef nghttp2_nv pair = fixed(name, value)
    pair.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    return pair


cdef inline size_t response_headers(nghttp2_nv *pairs, H2Stream *stream, bint list_encodings) noexcept nogil:
    """Write the headers that start every response, at most three, and return their number.

    The accepted encodings are listed to a client that compresses, or if ``list_encodings``.
    """
    pairs[0] = fixed(b":status", b"200")
    if stream.content == 2:
        pairs[1] = fixed(b"content-type", b"application/grpc+proto")
    else:
        pairs[1] = fixed(b"content-type", b"application/grpc")
    if stream.encoding == IDENTITY and not list_encodings:
        return 2
    pairs[2] = fixed(b"grpc-accept-encoding", b"identity, deflate, gzip")
    return 3


cdef inline size_t trailers(nghttp2_nv *pairs, int status, const char *message, char *digits) noexcept nogil:
    """Write the trailers that end every response and return their number.

    ``digits`` is a buffer of at least 12 bytes; it must live until the trailers are submitted.
    """
    if status == 0:
        pairs[0] = fixed(b"grpc-status", b"0")
        return 1
    snprintf(digits, 12, b"%d", status)
    pairs[0] = copied(b"grpc-status", digits)
    if message == NULL or message[0] == 0:
        return 1
    pairs[1] = copied(b"grpc-message", message)
    return 2


cdef inline ssize_t read_response(
    nghttp2_session *h2, int32_t stream_id, uint8_t *buf, size_t length, uint32_t *data_flags,
    nghttp2_data_source *source, void *user_data) noexcept nogil:
    """libnghttp2's data provider: return at most ``length`` bytes, from the position where the last call stopped."""
    cdef H2Stream *stream = <H2Stream *>source.ptr
    cdef nghttp2_nv pairs[2]
    cdef char digits[12]
    cdef size_t n = min(length, stream.outbound.end - stream.outbound.start)
    memcpy(buf, stream.outbound.data + stream.outbound.start, n)
    stream.outbound.start += n
    stream.connection.unsent -= n
    stream.connection.sent += n
    if stream.outbound.start < stream.outbound.end:
        return n
    if stream.finished:
        data_flags[0] = NGHTTP2_DATA_FLAG_EOF
        if stream.status == HTTP_ANSWER:
            return n
        if n and stream.status == 0:
            if stream.connection.trailers_length:
                stream.connection.followed = stream_id
                return n
            stream.connection.plain = stream_id
        data_flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
        if nghttp2_submit_trailer(h2, stream_id, pairs, trailers(pairs, stream.status, stream.message, digits)) != 0:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        return n
    notify(stream)
    if n == 0:
        stream.deferred = True
        return NGHTTP2_ERR_DEFERRED
    return n


cdef inline int start_response(H2Stream *stream) noexcept nogil:
    """Send the response headers, then the bytes that are in ``outbound`` and those added to it later."""
    cdef nghttp2_nv pairs[3]
    return submit_with_body(stream, pairs, response_headers(pairs, stream, False))


cdef inline int submit_with_body(H2Stream *stream, const nghttp2_nv *pairs, size_t n) noexcept nogil:
    cdef nghttp2_data_provider provider
    provider.source.ptr = stream
    provider.read_callback = read_response
    stream.response_started = True
    return nghttp2_submit_response(stream.connection.h2, stream.id, pairs, n, &provider)


cdef inline int trailers_only(H2Stream *stream, int status, const char *message) noexcept nogil:
    """Respond without a message (gRPC's Trailers-Only); ``message`` is percent-encoded or NULL."""
    cdef nghttp2_nv pairs[5]
    cdef char digits[12]
    cdef size_t n = response_headers(pairs, stream, status == 12)  # UNIMPLEMENTED (grpc/doc/compression.md)
    n += trailers(pairs + n, status, message, digits)
    return submit_headers_only(stream, pairs, n)


cdef inline int submit_headers_only(H2Stream *stream, const nghttp2_nv *pairs, size_t n) noexcept nogil:
    stream.response_started = True
    end_call(stream)
    drop_request(stream)
    return nghttp2_submit_response(stream.connection.h2, stream.id, pairs, n, NULL)


cdef inline int http_error(H2Stream *stream, const char *status, const char *text) noexcept nogil:
    """Respond with an HTTP status to a request that is not gRPC (PROTOCOL-HTTP2.md asks for 415).

    The text waits for the client's window: a client that leaves too much unread gets none.
    """
    cdef nghttp2_nv pairs[3]
    cdef H2Connection *connection = stream.connection
    pairs[0] = fixed(b":status", status)
    pairs[1] = fixed(b"allow", b"POST")  # RFC 9110 15.5.6 requires it of 405
    pairs[2] = fixed(b"content-type", b"text/plain")
    stream.status = HTTP_ANSWER
    if stream.is_head or must_not_wait(connection) or not append(&stream.outbound, text, strlen(text)):
        return submit_headers_only(stream, pairs, 2)
    connection.unsent += strlen(text)
    end_call(stream)
    drop_request(stream)
    return submit_with_body(stream, pairs, 3)


cdef inline bint must_not_wait(H2Connection *connection) noexcept nogil:
    """Whether the client leaves so much unread that no further response may wait for its window."""
    return connection.unsent > connection.shared.max_unsent or holds_too_much(connection) or over_share(connection)


cdef inline int finish(H2Stream *stream, int status, const char *message) noexcept nogil:
    """End the call with a status, after the bytes in ``outbound``; ``message`` is percent-encoded or NULL."""
    if stream.finished or stream.closed:
        return 0
    if not stream.response_started:
        return trailers_only(stream, status, message)
    stream.status = status
    stream.message = NULL if message == NULL else strdup(message)
    end_call(stream)
    drop_request(stream)
    return resume(stream)


cdef inline int resume(H2Stream *stream) noexcept nogil:
    """Make libnghttp2 call the data provider again if the provider deferred."""
    if not stream.deferred:
        return 0
    stream.deferred = False
    return nghttp2_session_resume_data(stream.connection.h2, stream.id)
