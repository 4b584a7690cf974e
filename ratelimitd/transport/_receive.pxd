"""libnghttp2's callbacks: frames in, complete calls in the connection's list. They cannot touch a Python object."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp

from ratelimitd.transport._answer cimport finish, http_error, trailers_only
from ratelimitd.transport._libnghttp2 cimport *
from ratelimitd.transport._stream cimport *


cdef inline Stream *find(Link *link, int32_t stream_id) noexcept nogil:
    if link.current != NULL and link.current.id == stream_id:
        return link.current
    link.current = <Stream *>nghttp2_session_get_stream_user_data(link.h2, stream_id)
    return link.current


cdef inline int64_t count_frames(Link *link, const uint8_t *data, size_t length) noexcept nogil:
    """Return how many frames begin in these bytes. libnghttp2 tells of those alone that it does not ignore."""
    cdef const uint8_t *header
    cdef size_t at = 0
    cdef size_t step
    cdef int64_t frames = 0
    while at < length:
        if link.to_skip:
            step = min(link.to_skip, length - at)
            link.to_skip -= step
            at += step
        elif link.header_end == 0 and length - at >= HEADER:
            header = data + at
            at += HEADER
            link.to_skip = (<size_t>header[0] << 16) | (<size_t>header[1] << 8) | header[2]
            frames += 1
        else:
            link.header[link.header_end] = data[at]
            link.header_end += 1
            at += 1
            if link.header_end == HEADER:
                link.header_end = 0
                link.to_skip = (<size_t>link.header[0] << 16) | (<size_t>link.header[1] << 8) | link.header[2]
                frames += 1
    return frames


cdef inline int spend(Link *link) noexcept nogil:
    """Charge as much as a frame; a connection that has nothing left is ended."""
    link.budget -= FRAME_COST
    return NGHTTP2_ERR_CALLBACK_FAILURE if link.budget < 0 else 0


cdef inline int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept nogil:
    cdef Link *link = <Link *>user_data
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        find(link, frame.hd.stream_id)
        return 0
    link.current = new_stream(link, frame.hd.stream_id)
    if link.current == NULL:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return nghttp2_session_set_stream_user_data(h2, frame.hd.stream_id, link.current)


cdef inline int on_header(
    nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_length, const uint8_t *value,
    size_t value_length, uint8_t flags, void *user_data) noexcept nogil:
    cdef Link *link = <Link *>user_data
    cdef Stream *stream = link.current
    if stream == NULL:
        return 0
    stream.headers += 1
    stream.header_bytes += <uint32_t>(name_length + value_length + 32)  # as RFC 9113 6.5.2 counts
    if too_many_headers(stream):
        return spend(link)
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        return 0
    if link.setup.metadata and name[0] != c':' and not keep(stream, name, name_length, value, value_length):
        return NGHTTP2_ERR_CALLBACK_FAILURE
    if name_length == 5 and memcmp(name, b":path", 5) == 0:
        stream.method = find_method(link.setup, value, value_length)
    elif name_length == 7 and memcmp(name, b":method", 7) == 0:
        stream.post = value_length == 4 and memcmp(value, b"POST", 4) == 0
    elif name_length == 12 and memcmp(name, b"content-type", 12) == 0:
        stream.content = content_type(value, value_length)
    elif name_length == 12 and memcmp(name, b"grpc-timeout", 12) == 0:
        stream.deadline = timeout(value, value_length)
        stream.bad_timeout = stream.deadline < 0
        stream.deadline += link.now
    elif name_length == 13 and memcmp(name, b"grpc-encoding", 13) == 0:
        stream.encoded = value_length != 8 or memcmp(value, b"identity", 8) != 0
    return 0


cdef inline bint too_many_headers(Stream *stream) noexcept nogil:
    cdef Setup *setup = stream.link.setup
    return stream.headers > setup.max_headers or stream.header_bytes > setup.max_header_bytes


cdef inline bint keep(
    Stream *stream, const uint8_t *name, size_t name_length, const uint8_t *value, size_t value_length) noexcept nogil:
    """Note a header as two lengths and its bytes, for whoever asks for metadata."""
    cdef uint32_t lengths[2]
    lengths[0], lengths[1] = <uint32_t>name_length, <uint32_t>value_length
    return (append(&stream.metadata, lengths, sizeof(lengths)) and append(&stream.metadata, name, name_length)
            and append(&stream.metadata, value, value_length))


cdef inline int on_data(
    nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t length,
    void *user_data) noexcept nogil:
    cdef Link *link = <Link *>user_data
    cdef Stream *stream = find(link, stream_id)
    if stream == NULL or stream.finished or not link.setup.methods[stream.method].streaming:
        nghttp2_session_consume(h2, stream_id, length)
    else:
        nghttp2_session_consume_connection(h2, length)
        stream.held += length
    if stream == NULL or stream.finished:
        return 0
    if not append(&stream.inbound, data, length):
        return NGHTTP2_ERR_CALLBACK_FAILURE
    hold(link, length)
    if link.buffered > link.setup.max_link_buffered:
        return finish(stream, 8, b"too many unfinished messages on this connection")
    if link.setup.buffered > link.setup.max_buffered:
        return finish(stream, 8, b"too many unfinished messages")
    if not link.setup.methods[stream.method].streaming and stream.complete:
        return finish(stream, 13, b"a unary call has one message")
    return scan(stream)


cdef inline int scan(Stream *stream) noexcept nogil:
    """Count the whole messages; give back the window of one that is not yet whole."""
    cdef size_t length
    cdef size_t left = stream.inbound.end - stream.inbound.start - stream.scanned
    cdef char *at = stream.inbound.data + stream.inbound.start + stream.scanned
    while left >= PREFIX:
        if at[0] != 0:
            return refuse_compressed(stream)
        length = message_length(at)
        if length > stream.link.setup.max_message:
            return finish(stream, 8, b"the message is too large")
        if left - PREFIX < length:
            break
        stream.complete += 1
        stream.scanned += PREFIX + length
        left -= PREFIX + length
        at += PREFIX + length
    if stream.complete == 0:
        return give_window(stream)
    return 0


cdef inline int give_window(Stream *stream) noexcept nogil:
    cdef size_t held = stream.held
    stream.held = 0
    return nghttp2_session_consume_stream(stream.link.h2, stream.id, held) if held and not stream.half_closed else 0


cdef inline int refuse_compressed(Stream *stream) noexcept nogil:
    """The flag without an encoding is the caller's mistake, with one it is more than we do (compression.md)."""
    if stream.encoded:
        return finish(stream, 12, b"compressed messages are not supported")
    return finish(stream, 13, b"a message is flagged as compressed, and grpc-encoding does not say how")


cdef inline int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept nogil:
    cdef Link *link = <Link *>user_data
    cdef Stream *stream
    cdef int failed = 0
    if frame.hd.type == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
        link.pong = True
    elif frame.hd.type == NGHTTP2_SETTINGS:
        link.greeted = True
    elif frame.hd.type == NGHTTP2_RST_STREAM:
        earn_back(find(link, frame.hd.stream_id))
    if frame.hd.type != NGHTTP2_HEADERS and frame.hd.type != NGHTTP2_DATA:
        return 0
    stream = find(link, frame.hd.stream_id)
    if stream == NULL:
        return 0
    if frame.hd.type == NGHTTP2_DATA and not stream.finished and frame.hd.length > frame.data.padlen:
        link.budget += FRAME_COST  # by the frame: one that comes in many reads is one all the same
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        stream.half_closed = True
    if frame.hd.type == NGHTTP2_HEADERS and not stream.finished:
        failed = judge(stream, frame.headers.cat == NGHTTP2_HCAT_REQUEST)
    if failed == 0 and not stream.finished:
        if link.setup.methods[stream.method].streaming:
            touch(stream)
        elif stream.half_closed:
            failed = complete(stream)
    return failed


cdef inline void earn_back(Stream *stream) noexcept nogil:
    """A unary call that is served earns as much when its caller gives up as when it is answered.

    Its work has a bound of its own, max_calls. What it earns pays for the reset and for the window update that grpc
    core sends with every call.
    """
    if stream != NULL and stream.serving and not stream.link.setup.methods[stream.method].streaming:
        stream.link.budget += FRAMES_EARNED * FRAME_COST


cdef inline int judge(Stream *stream, bint request) noexcept nogil:
    """Refuse a call whose headers will not do; start one that streams."""
    if too_many_headers(stream):
        return finish(stream, 8, b"too many headers")
    if not request:
        return 0
    stream.link.budget += FRAME_COST
    if not stream.post:
        return http_error(stream, b"405")
    if stream.content == 0:
        return http_error(stream, b"415")
    if stream.method < 0:
        return trailers_only(stream, 12, b"unknown method")
    if stream.bad_timeout:
        return trailers_only(stream, 13, b"grpc-timeout is not up to eight digits and one of HMSmun")
    if stream.link.setup.methods[stream.method].streaming:
        make_ready(stream)
    return 0


cdef inline int complete(Stream *stream) noexcept nogil:
    """The caller has sent all of a unary call."""
    cdef size_t size = stream.inbound.end - stream.inbound.start
    if size == 0:
        return trailers_only(stream, 13, b"missing message")
    if stream.complete != 1 or stream.scanned != size:
        return trailers_only(stream, 13, b"a unary call has one message" if stream.complete else b"a truncated message")
    make_ready(stream)
    return 0


cdef inline int on_frame_send(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept nogil:
    """Credit answers by what they carry; tell a caller who is still sending that its call is over (RFC 9113 8.1)."""
    cdef Link *link = <Link *>user_data
    cdef Stream *stream
    if frame.hd.type == NGHTTP2_DATA:
        link.budget += <int64_t>min(frame.hd.length, <size_t>BYTES_TO_EARN) * FRAMES_EARNED * FRAME_COST // BYTES_TO_EARN
    elif frame.hd.type == NGHTTP2_HEADERS and frame.headers.cat == NGHTTP2_HCAT_HEADERS:  # an answer is complete
        link.budget += FRAMES_EARNED * FRAME_COST
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM and (frame.hd.type == NGHTTP2_HEADERS or frame.hd.type == NGHTTP2_DATA):
        stream = <Stream *>nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
        if stream != NULL and not stream.half_closed:
            return nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR)
    return 0


cdef inline int on_stream_close(
    nghttp2_session *h2, int32_t stream_id, uint32_t error_code, void *user_data) noexcept nogil:
    cdef Stream *stream = <Stream *>nghttp2_session_get_stream_user_data(h2, stream_id)
    if stream != NULL:
        close_stream(stream)
    return 0


cdef inline nghttp2_session_callbacks *new_callbacks() noexcept nogil:
    """Return what every session calls; NULL without memory."""
    cdef nghttp2_session_callbacks *callbacks = NULL
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        return NULL
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    return callbacks


cdef inline nghttp2_option *new_option() noexcept nogil:
    """Return how every session behaves; NULL without memory."""
    cdef nghttp2_option *option = NULL
    if nghttp2_option_new(&option) != 0:
        return NULL
    nghttp2_option_set_no_auto_window_update(option, 1)
    nghttp2_option_set_no_closed_streams(option, 1)
    lift_rate_limits(option)
    return option
