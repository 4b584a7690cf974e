"""What the fields of a request say: the length of a message, and the values of gRPC's headers."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp
from posix.strings cimport strncasecmp

from ratelimitd.transport._stream cimport DEFLATE, GZIP, IDENTITY, UNSUPPORTED, Shared


cdef inline size_t message_length(const char *prefix) noexcept nogil:
    cdef const uint8_t *p = <const uint8_t *>prefix
    return (<size_t>p[1] << 24) | (<size_t>p[2] << 16) | (<size_t>p[3] << 8) | p[4]


cdef inline int find_method(Shared *shared, const uint8_t *path, size_t length) noexcept nogil:
    cdef int i
    for i in range(shared.method_count):
        if shared.methods[i].length == length and memcmp(shared.methods[i].path, path, length) == 0:
            return i
    return -1


cdef inline uint8_t content_type(const uint8_t *value, size_t length) noexcept nogil:
    """Match gRPC's content types (PROTOCOL-HTTP2.md), ignoring case (RFC 9110 8.3.1).

    Returns 2 for ``application/grpc+proto``, 1 for any other gRPC type, 0 for all other types.
    """
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


cdef inline uint8_t encoding_of(const uint8_t *value, size_t length) noexcept nogil:
    """Parse grpc-encoding (grpc/doc/compression.md)."""
    if length == 8 and memcmp(value, b"identity", 8) == 0:
        return IDENTITY
    if length == 4 and memcmp(value, b"gzip", 4) == 0:
        return GZIP
    return DEFLATE if length == 7 and memcmp(value, b"deflate", 7) == 0 else UNSUPPORTED


cdef inline int64_t timeout(const uint8_t *value, size_t length) noexcept nogil:
    """Parse grpc-timeout, at most eight digits and a unit (PROTOCOL-HTTP2.md), to µs, rounded up; -1 if malformed."""
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
    """Write UTF-8 bytes to ``out`` in the encoding of grpc-message (PROTOCOL-HTTP2.md), and return the length.

    ``out`` must have space for three times ``length``. A space at either end is encoded as well, because field values
    lose leading and trailing spaces (RFC 9110 5.5).
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
