"""Bodies, piece by piece. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.http1.bodies import BodyError, Chunks, Counted, chunk, last_chunk


def fed(body, data, cuts=()):
    """Feed it in parts; what was read, and what is beyond it."""
    out, rest, at = b"", b"", 0
    for end in [*sorted(cuts), len(data)]:
        if body.done:
            rest += data[at:end]
        else:
            piece, rest = body.feed(data[at:end])
            out += piece
        at = end
    return out, rest


BAD = {
    "no size": b"\r\n",
    "not hex": b"g\r\n",
    "a sign": b"+3\r\nabc\r\n",
    "0x": b"0x3\r\nabc\r\n",
    "a blank before the size": b" 3\r\nabc\r\n",
    "a blank after the size": b"3 \r\nabc\r\n",
    "bare LF after the size": b"3\nabc\r\n",
    "bare CR after the size": b"3\rabc\r\n",
    "bare LF after the data": b"3\r\nabc\n0\r\n\r\n",
    "data longer than its size": b"3\r\nabcd\r\n",
    "data shorter than its size": b"3\r\nab\r\n0\r\n",
    "bare LF in an extension": b"3;a\nb\r\nabc\r\n",
    "a control byte in an extension": b"3;a\x00\r\nabc\r\n",
    "an extension too long": b"3;" + b"a" * 300,
    "too many digits": b"1" * 16 + b"\r\n",
    "bare LF at the end": b"0\r\n\n",
    "a trailer that is folded": b"0\r\nA: b\r\n c\r\n\r\n",
    "a trailer without a colon": b"0\r\nA\r\n\r\n",
    "a trailer with a bare LF": b"0\r\nA: b\nB: c\r\n\r\n",
    "trailers too long": b"0\r\n" + b"A: b\r\n" * 2000,
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("whole", [True, False])
def test_chunks_are_read_to_the_letter(case, whole):
    """Whatever is not a chunk by the letter is refused, in one piece or byte by byte."""
    data = BAD[case]
    with pytest.raises(BodyError):
        fed(Chunks(), data, () if whole else range(1, len(data)))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.binary(max_size=20), st.data())
def test_chunks_end_where_they_end_however_they_come(pieces, beyond, data):
    """The data, the trailers and the byte after the body are the same whatever the reads were."""
    wire = b"".join(chunk(piece) for piece in pieces) + last_chunk([(b"A", b"b")]) + beyond
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=6))
    body = Chunks()
    assert (b"".join(pieces), beyond) == fed(body, wire, cuts)
    assert (body.done, body.trailers) == (True, [(b"A", b"b")])


@given(st.binary(max_size=40), st.binary(max_size=20), st.data())
def test_a_counted_body_ends_where_it_ends(content, beyond, data):
    """The byte after a counted body is the same whatever the reads were."""
    wire = content + beyond
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=4))
    assert (content, beyond) == fed(Counted(len(content)), wire, cuts)


def test_extensions_are_read_over():
    """A short chunk extension changes nothing and goes no further."""
    assert fed(Chunks(), b"3;a=b\r\nabc\r\n0;c\r\n\r\n") == (b"abc", b"")


def test_trailers_that_frame_route_or_authorise_are_left_out():
    """Trailers are forwarded knowingly: what has no place behind a body is dropped."""
    body = Chunks()
    lines = b"Content-Length: 5\r\nHost: b\r\nAuthorization: c\r\nSet-Cookie: d\r\nX-Sum: f\r\n"
    fed(body, b"0\r\n" + lines + b"\r\n")
    assert body.trailers == [(b"X-Sum", b"f")]
