"""Which calls of a connection are passed to the service, and which are refused or ended: bounds of calls, bytes, time."""

from libc.stdint cimport INT64_MAX, int64_t

from ratelimitd.transport._response cimport finish, must_not_wait
from ratelimitd.transport._stream cimport *


cdef inline bint admit(H2Connection *connection, H2Stream *stream) noexcept nogil:
    """Whether a call is to be passed to the service; a refused one is answered."""
    cdef bint streaming = connection.shared.methods[stream.method].streaming
    if stream.closed or stream.finished:
        return False
    if must_not_wait(connection):
        finish(stream, 8, b"too many unread responses on this connection")
        return False
    if not (admit_streaming(connection, stream) if streaming else admit_unary(connection, stream)):
        return False
    connection.in_flight += 1
    stream.in_flight = True
    return True


cdef inline bint admit_unary(H2Connection *connection, H2Stream *stream) noexcept nogil:
    cdef Shared *shared = connection.shared
    if shared.calls >= shared.max_calls:
        finish(stream, 8, b"too many concurrent calls")
        return False
    if connection.inflatable == 0 and stream.inbound.data[stream.inbound.start] != 0:
        finish(stream, 8, b"too many compressed messages at once")  # without any Python: a read may have a thousand
        return False
    # As much as is free, so that one that floods leaves half to the others, two leave a third, and so on.
    if connection.bodies + <int64_t>stream.scanned > shared.max_bodies - shared.bodies:
        finish(stream, 8, b"too much request data in flight")
        return False
    shared.calls += 1
    return True


cdef inline bint admit_streaming(H2Connection *connection, H2Stream *stream) noexcept nogil:
    """Apply the separate limits of streaming calls: they may stay open forever, and must not starve unary calls."""
    cdef Shared *shared = connection.shared
    if shared.streaming >= shared.max_streaming:
        finish(stream, 8, b"too many concurrent streaming calls")
    elif connection.streaming >= shared.max_connection_streaming:
        finish(stream, 8, b"too many concurrent streaming calls on this connection")
    elif connection.exclusive and shared.methods[stream.method].exclusive:
        finish(stream, 8, b"another call of this kind is open on this connection; close it first, or use its stream")
    else:
        if shared.methods[stream.method].exclusive and not stream.half_closed:
            stream.exclusive = connection.exclusive = True
        shared.streaming += 1
        connection.streaming += 1
        stream.streaming = True
        hold_messages_only(stream)
        return True
    return False


cdef inline void refuse_incomplete(H2Connection *connection) noexcept nogil:
    """After a read: refuse the newest calls of which a part has arrived until the connection holds no more than it may.

    A call that arrived completely in one read is never refused for what others hold.
    """
    cdef H2Stream *stream = connection.streams
    cdef H2Stream *older
    while stream != NULL and (holds_too_much(connection) or over_share(connection)):
        older = stream.next
        if stream.held and not stream.finished:
            if holds_too_much(connection):
                finish(stream, 8, b"too much buffered request data on this connection")
            else:
                finish(stream, 8, b"too much buffered request data")
        stream = older


cdef inline bint end_late(H2Connection *connection, int64_t now) noexcept nogil:
    """End the calls whose requests are incomplete after their time; return whether there was one."""
    cdef H2Stream *stream = connection.streams
    cdef H2Stream *older
    cdef int64_t due
    cdef bint ended = False
    if now < connection.due:
        return False
    connection.due = INT64_MAX
    while stream != NULL:
        older = stream.next
        if not (stream.in_flight or stream.finished):
            due = stream.born + connection.shared.request_timeout
            if stream.deadline > 0:
                due = min(due, stream.deadline)
            if due <= now:
                finish(stream, 4, b"the request was not complete in time")
                ended = True
            else:
                connection.due = min(connection.due, due)
        stream = older
    return ended
