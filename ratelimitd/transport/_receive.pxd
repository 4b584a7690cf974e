"""libnghttp2's callbacks: they put complete calls into the connection's list, and cannot touch a Python object."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp

from ratelimitd.transport._blocks cimport know, take_fields
from ratelimitd.transport._fields cimport content_type, encoding_of, find_method, message_length, timeout
from ratelimitd.transport._libnghttp2 cimport *
from ratelimitd.transport._response cimport finish, http_error, trailers_only
from ratelimitd.transport._stream cimport *


cdef inline H2Stream *find(H2Connection *connection, int32_t stream_id) noexcept nogil:
    if connection.current != NULL and connection.current.id == stream_id:
        return connection.current
    connection.current = <H2Stream *>nghttp2_session_get_stream_user_data(connection.h2, stream_id)
    return connection.current


cdef inline void refill_budget(H2Connection *connection, int64_t now) noexcept nogil:
    """Refill the frame budget by the elapsed time, and cap it: credits may have raised it above its maximum."""
    cdef int64_t rate = connection.shared.frame_rate
    cdef int64_t refilled = connection.budget + max(0, now - connection.now) * rate
    connection.budget = min(rate * FRAME_COST, refilled)
    connection.now = now


cdef inline int charge(H2Connection *connection, int64_t frames) noexcept nogil:
    """Charge the cost of so many frames; a connection whose budget is used up is closed."""
    connection.budget -= frames * FRAME_COST
    return NGHTTP2_ERR_CALLBACK_FAILURE if connection.budget < 0 else 0


cdef inline int on_begin_frame(nghttp2_session *h2, const nghttp2_frame_hd *header, void *user_data) noexcept nogil:
    """Find the errors of a connection that libnghttp2 passes over because it keeps no closed streams."""
    cdef H2Connection *connection = <H2Connection *>user_data
    if header.type == NGHTTP2_HEADERS:
        if header.stream_id > connection.last_id:
            connection.last_id = header.stream_id
        elif find(connection, header.stream_id) == NULL and not may_be_late(connection, header.stream_id):
            return fail(connection, NGHTTP2_STREAM_CLOSED)  # RFC 9113 5.1
    elif header.type == NGHTTP2_PRIORITY and header.stream_id == 0:
        return fail(connection, NGHTTP2_PROTOCOL_ERROR)  # RFC 9113 6.3
    return 0


cdef inline bint may_be_late(H2Connection *connection, int32_t stream_id) noexcept nogil:
    """Whether the client may have sent this before it knew that the stream was over: trailers of a refused call."""
    cdef int i
    for i in range(ENDED):
        if connection.ended[i] == stream_id:
            return True
    return connection.leaving or stream_id & 1 == 0  # libnghttp2 finds the errors of even streams


cdef inline void remember_ended(H2Connection *connection, int32_t stream_id) noexcept nogil:
    connection.ended[connection.ended_at & (ENDED - 1)] = stream_id
    connection.ended_at += 1


cdef inline int fail(H2Connection *connection, uint32_t error_code) noexcept nogil:
    """Return what ends the connection with this HTTP/2 error code."""
    connection.fault = error_code
    return NGHTTP2_ERR_CALLBACK_FAILURE


cdef inline int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept nogil:
    cdef H2Connection *connection = <H2Connection *>user_data
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        find(connection, frame.hd.stream_id)
        return 0
    connection.current = new_stream(connection, frame.hd.stream_id)
    if connection.current == NULL:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    if connection.repeated != NULL:
        take_fields(connection.current, connection.repeated)
    return nghttp2_session_set_stream_user_data(h2, frame.hd.stream_id, connection.current)


cdef inline int on_header(
    nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_length, const uint8_t *value,
    size_t value_length, uint8_t flags, void *user_data) noexcept nogil:
    cdef H2Connection *connection = <H2Connection *>user_data
    cdef H2Stream *stream = connection.current
    if stream == NULL or connection.repeated != NULL:
        return 0
    stream.headers += 1
    stream.header_bytes += <uint32_t>(name_length + value_length + 32)  # as defined in RFC 9113 6.5.2
    if too_many_headers(stream):
        return charge(connection, 1 + <int64_t>(name_length + value_length) // HEADER_BYTES_PER_FRAME)
    if multiplied(stream, frame.hd.length):
        if charge(connection, <int64_t>(name_length + value_length) // HEADER_BYTES_PER_FRAME) != 0:
            return NGHTTP2_ERR_CALLBACK_FAILURE
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        return 0
    if connection.shared.metadata and name[0] != c':':
        if not record_header(stream, name, name_length, value, value_length):
            return NGHTTP2_ERR_CALLBACK_FAILURE
    if name_length == 5 and memcmp(name, b":path", 5) == 0:
        stream.method = find_method(connection.shared, value, value_length)
    elif name_length == 7 and memcmp(name, b":method", 7) == 0:
        stream.is_post = value_length == 4 and memcmp(value, b"POST", 4) == 0
        stream.is_head = value_length == 4 and memcmp(value, b"HEAD", 4) == 0
    elif name_length == 12 and memcmp(name, b"content-type", 12) == 0:
        stream.content = content_type(value, value_length)
    elif name_length == 12 and memcmp(name, b"grpc-timeout", 12) == 0:
        stream.deadline = timeout(value, value_length)
        stream.bad_timeout = stream.deadline < 0
        stream.deadline += connection.now
    elif name_length == 13 and memcmp(name, b"grpc-encoding", 13) == 0:
        stream.encoding = encoding_of(value, value_length)
    elif (name_length == 14 and memcmp(name, b"content-length", 14) == 0) or (
            name_length == 8 and memcmp(name, b"priority", 8) == 0):
        stream.evaluated = True
    return 0


cdef inline bint too_many_headers(H2Stream *stream) noexcept nogil:
    cdef Shared *shared = stream.connection.shared
    return stream.headers > shared.max_headers or stream.header_bytes > shared.max_header_bytes


cdef inline bint record_header(
    H2Stream *stream, const uint8_t *name, size_t name_length, const uint8_t *value,
    size_t value_length) noexcept nogil:
    """Append a header to the stream's metadata: two lengths, the name and the value."""
    cdef uint32_t lengths[2]
    lengths[0], lengths[1] = <uint32_t>name_length, <uint32_t>value_length
    hold(stream, sizeof(lengths) + name_length + value_length)
    return (append(&stream.metadata, lengths, sizeof(lengths)) and append(&stream.metadata, name, name_length)
            and append(&stream.metadata, value, value_length))


cdef inline int on_data(
    nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t length,
    void *user_data) noexcept nogil:
    cdef H2Connection *connection = <H2Connection *>user_data
    cdef H2Stream *stream = find(connection, stream_id)
    if stream == NULL or stream.finished or not connection.shared.methods[stream.method].streaming:
        nghttp2_session_consume(h2, stream_id, length)
    else:
        nghttp2_session_consume_connection(h2, length)
        stream.unconsumed += length
    if stream == NULL or stream.finished:
        return 0
    if not append(&stream.inbound, data, length):
        return NGHTTP2_ERR_CALLBACK_FAILURE
    hold(stream, length)
    if not connection.shared.methods[stream.method].streaming and stream.complete:
        return finish(stream, 13, b"unary call has more than one message")
    return scan(stream)


cdef inline int scan(H2Stream *stream) noexcept nogil:
    """Count the complete messages. If there is none yet, return the window, so that the first one can arrive."""
    cdef size_t length
    cdef size_t left = stream.inbound.end - stream.inbound.start - stream.scanned
    cdef char *at = stream.inbound.data + stream.inbound.start + stream.scanned
    while left >= PREFIX:
        if at[0] != 0 and (at[0] != 1 or stream.encoding == IDENTITY or stream.encoding == UNSUPPORTED):
            return reject_flag(stream, at[0])
        length = message_length(at)
        if length > stream.connection.shared.max_message:
            return finish(stream, 8, b"message too large")
        if left - PREFIX < length:
            break
        stream.complete += 1
        stream.scanned += PREFIX + length
        left -= PREFIX + length
        at += PREFIX + length
    if stream.complete == 0:
        return return_window(stream)
    return 0


cdef inline int return_window(H2Stream *stream) noexcept nogil:
    """Return the received bytes to the stream's flow-control window."""
    cdef size_t size = stream.unconsumed
    stream.unconsumed = 0
    if size == 0 or stream.half_closed:
        return 0
    return nghttp2_session_consume_stream(stream.connection.h2, stream.id, size)


cdef inline int reject_flag(H2Stream *stream, char flag) noexcept nogil:
    """Reject a message that cannot be decompressed: UNIMPLEMENTED if its encoding is unknown, else INTERNAL."""
    if flag != 1:
        return finish(stream, 13, b"the first byte of a message is neither 0 nor 1")
    if stream.encoding == UNSUPPORTED:
        return finish(stream, 12, b"unsupported grpc-encoding; accepted: identity, deflate, gzip")
    return finish(stream, 13, b"message is flagged as compressed, but grpc-encoding names no compression")


cdef inline int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept nogil:
    cdef H2Connection *connection = <H2Connection *>user_data
    cdef H2Stream *stream
    cdef int failed = 0
    if frame.hd.type == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
        connection.pong = True
    elif frame.hd.type == NGHTTP2_SETTINGS:
        connection.settings_received = True
        connection.trailers_length = 0  # the table may have another size
        if frame.hd.length and charge(connection, connection.open_calls // STREAMS_PER_FRAME) != 0:
            return NGHTTP2_ERR_CALLBACK_FAILURE  # a changed window size is applied to every open stream
    elif frame.hd.type == NGHTTP2_RST_STREAM:
        credit_reset(find(connection, frame.hd.stream_id))
    if frame.hd.type != NGHTTP2_HEADERS and frame.hd.type != NGHTTP2_DATA:
        return 0
    stream = find(connection, frame.hd.stream_id)
    if stream == NULL:
        return 0
    if frame.hd.type == NGHTTP2_DATA and not stream.finished and frame.hd.length > frame.data.padlen:
        connection.budget += FRAME_COST  # per frame, even if the frame arrives in many reads
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        stream.half_closed = True
        make_way(stream)
    if frame.hd.type == NGHTTP2_HEADERS and not stream.finished:
        failed = check_headers(stream, frame.headers.cat == NGHTTP2_HCAT_REQUEST)
    if failed == 0 and not stream.finished:
        if connection.shared.methods[stream.method].streaming:
            notify(stream)
        elif stream.half_closed:
            failed = complete(stream)
    return failed


cdef inline void credit_reset(H2Stream *stream) noexcept nogil:
    """Credit a reset unary call as much as a completed one, if it was passed to the service.

    max_calls bounds the work of such calls. The credit pays for the RST_STREAM and for the WINDOW_UPDATE that grpc
    core sends with every call.
    """
    if stream != NULL and stream.in_flight and not stream.connection.shared.methods[stream.method].streaming:
        stream.connection.budget += FRAMES_CREDITED * FRAME_COST


cdef inline int check_headers(H2Stream *stream, bint request) noexcept nogil:
    """Reject a call with invalid headers; start a streaming call."""
    if too_many_headers(stream):
        return finish(stream, 8, b"header count or size exceeds the limit")
    if not request:
        return 0
    stream.connection.budget += FRAME_COST
    if not stream.is_post:
        return http_error(stream, b"405", b"only gRPC is served here, by POST\n")
    if stream.content == 0:
        return http_error(stream, b"415", b"only gRPC is served here, with the content type application/grpc\n")
    if stream.method < 0:
        return trailers_only(stream, 12, b"unknown method")
    if stream.bad_timeout:
        return trailers_only(
            stream, 13, b"malformed grpc-timeout; expected up to 8 digits and a unit: H, M, S, m, u or n")
    if stream.deadline > 0:
        stream.connection.due = min(stream.connection.due, stream.deadline)
    know(stream)
    if stream.connection.shared.methods[stream.method].streaming:
        make_ready(stream)
    return 0


cdef inline int complete(H2Stream *stream) noexcept nogil:
    """Check the message of a unary call after END_STREAM, and make the call ready."""
    cdef size_t size = stream.inbound.end - stream.inbound.start
    if size == 0:
        return trailers_only(stream, 13, b"missing message")
    if stream.complete != 1 or stream.scanned != size:
        return trailers_only(
            stream, 13, b"unary call has more than one message" if stream.complete else b"truncated message")
    hold(stream, -<ssize_t>stream.held)  # max_calls bounds the calls that are complete
    make_ready(stream)
    return 0


cdef inline int on_frame_send(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept nogil:
    """Credit responses by their size; after END_STREAM reset a stream that the client still sends on (RFC 9113 8.1)."""
    cdef H2Connection *connection = <H2Connection *>user_data
    cdef H2Stream *stream
    if frame.hd.type == NGHTTP2_DATA:
        connection.budget += (
            <int64_t>min(frame.hd.length, <size_t>BYTES_PER_CREDIT) * FRAMES_CREDITED * FRAME_COST // BYTES_PER_CREDIT)
        if connection.followed == frame.hd.stream_id:
            connection.budget += FRAMES_CREDITED * FRAME_COST
    elif frame.hd.type == NGHTTP2_HEADERS and frame.headers.cat == NGHTTP2_HCAT_HEADERS:  # the trailers of a response
        connection.budget += FRAMES_CREDITED * FRAME_COST
    elif frame.hd.type == NGHTTP2_RST_STREAM:
        remember_ended(connection, frame.hd.stream_id)
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM and (frame.hd.type == NGHTTP2_HEADERS or frame.hd.type == NGHTTP2_DATA):
        stream = <H2Stream *>nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
        if stream != NULL and not stream.half_closed:
            return nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR)
    return 0


cdef inline int on_invalid_frame(
    nghttp2_session *h2, const nghttp2_frame *frame, int lib_error_code, void *user_data) noexcept nogil:
    """Remember a stream that libnghttp2 refused; its RST_STREAM is not sent yet."""
    remember_ended(<H2Connection *>user_data, frame.hd.stream_id)
    return 0


cdef inline int on_stream_close(
    nghttp2_session *h2, int32_t stream_id, uint32_t error_code, void *user_data) noexcept nogil:
    cdef H2Stream *stream = <H2Stream *>nghttp2_session_get_stream_user_data(h2, stream_id)
    if stream != NULL:
        close_stream(stream)
    return 0


cdef inline nghttp2_session_callbacks *new_callbacks() noexcept nogil:
    """Return the callbacks of every session; NULL if out of memory."""
    cdef nghttp2_session_callbacks *callbacks = NULL
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        return NULL
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv)
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    return callbacks


cdef inline nghttp2_option *new_option() noexcept nogil:
    """Return the options of every session; NULL if out of memory."""
    cdef nghttp2_option *option = NULL
    if nghttp2_option_new(&option) != 0:
        return NULL
    nghttp2_option_set_no_auto_window_update(option, 1)
    nghttp2_option_set_no_closed_streams(option, 1)
    lift_rate_limits(option)
    return option
