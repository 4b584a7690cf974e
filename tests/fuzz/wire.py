"""RateLimitRequests as bytes, written field by field, so that they may hold what no library would write."""

from collections.abc import Callable

from hypothesis import strategies as st

VARINT, FIXED64, LENGTH, GROUP, FIXED32 = 0, 1, 2, 3, 5

DOMAINS = (b"plain", b"together", b"plain", b"together", b"odd \xff", b"who", b"nobody's")
"""Those of ``POLICIES``, and one that no policy has."""

KEYS = (
    *(b"user", b"path", b"many", b"free", b"quota", b"shadow", b"told", b"swap", b"api_key", b"remote_address", b"no"),
    b"ratelimitd.lease",
)
VALUES = (
    *(b"", b"a", b"b", b"/a/b", b"/a/*", b"*", b"{a}", b"_", b"a_b", b"x" * 300, b"\xff\xfe", b"\0\r\n", "ü€".encode()),
    *(b"secret", b"other", b"10.0.0.1", b"2001:db8::1", b"::ffff:10.0.0.1", b"fe80::1%eth0", b"::1%", b":"),
)
HITS = (0, 1, 2, 5, 127, 128, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 63), (1 << 64) - 1)
UNITS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 99, (1 << 31) - 1, (1 << 64) - 1)

Draw = Callable[[st.SearchStrategy], object]


def varint(number):
    """Write a number of 0 to 2**64 - 1."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(written) + bytes((number,))


def number(field, value):
    """Write a field that is a number."""
    return varint(field << 3 | VARINT) + varint(value)


def text(field, value):
    """Write a field that is bytes, or a message."""
    return varint(field << 3 | LENGTH) + varint(len(value)) + value


keys = st.integers(0, 7).flatmap(lambda dice: st.sampled_from(KEYS) if dice else st.binary(max_size=8))
values = st.sampled_from(VALUES) | st.binary(max_size=8)
hits = st.sampled_from(HITS) | st.integers(0, (1 << 64) - 1)

unknown = st.one_of(
    st.tuples(st.integers(5, 2_000), hits).map(lambda pair: number(*pair)),
    st.tuples(st.integers(5, 2_000), st.binary(max_size=12)).map(lambda pair: text(*pair)),
    st.integers(5, 2_000).map(lambda field: varint(field << 3 | FIXED64) + b"\1" * 8),
    st.integers(5, 2_000).map(lambda field: varint(field << 3 | FIXED32) + b"\1" * 4),
    st.integers(5, 2_000).map(lambda field: varint(field << 3 | GROUP) + varint(field << 3 | 4)),
)
"""A field that we do not have."""

wrong_kind = st.sampled_from([number(1, 5), text(3, b"x"), varint(2 << 3 | FIXED32) + b"\0\0\0\0", number(2, 1)])
"""A field that we have, of another kind."""


def rarely(what):
    """None or one of these, mostly none."""
    return st.integers(0, 7).flatmap(lambda dice: st.just([]) if dice else what.map(lambda each: [each]))


@st.composite
def entries(draw):
    """Draw an entry; a field may be missing, or be there twice."""
    parts = [text(1, draw(keys)), text(2, draw(values))]
    kind = draw(st.integers(0, 15))
    if kind == 0:
        parts = parts[: draw(st.integers(0, 1))]
    elif kind == 1:
        parts += [text(1, draw(keys)), *draw(rarely(unknown))]
    return b"".join(parts)


addends = st.one_of(hits.map(lambda count: number(1, count)), st.just(b""))
multipliers = addends.map(lambda wrapped: text(3, wrapped))
overrides = st.tuples(hits, st.sampled_from(UNITS), st.just(b"") | multipliers).map(
    lambda parts: number(1, parts[0]) + number(2, parts[1]) + parts[2]
)


@st.composite
def descriptors(draw):
    """Draw a descriptor; its fields come in any order, now and then twice."""
    parts = [
        text(1, each) for each in draw(st.lists(entries(), min_size=1, max_size=draw(st.sampled_from([1, 1, 1, 2, 3]))))
    ]
    kind = draw(st.integers(0, 15))
    if kind == 0:
        parts = draw(st.sampled_from([[], parts * 10, parts * 40]))
    if kind in (1, 2, 3):
        parts.append(text(2, draw(overrides)))
    if kind in (3, 4, 5):
        parts.append(text(3, draw(addends)))
    if kind in (5, 6):
        parts.append(number(4, draw(st.sampled_from([0, 1, 2, (1 << 64) - 1]))))
    if kind == 7:
        parts += draw(st.lists(unknown, max_size=2))
        parts = draw(st.permutations(parts))
    return b"".join(parts)


@st.composite
def requests(draw):
    """Draw a request: mostly one that can be decided, often of many charges, sometimes broken."""
    parts = [text(1, draw(st.sampled_from(DOMAINS)))]
    some = draw(st.lists(descriptors(), min_size=1, max_size=4))
    shape = draw(st.integers(0, 31))
    if shape < 2:
        some = draw(st.sampled_from([[], some * 16, some * 20, some + some]))
    elif shape < 5:
        some = [text(1, text(1, b"many") + text(2, draw(values)))] * draw(st.integers(30, 64))
    elif shape == 5:
        parts = [draw(st.sampled_from([b"", text(1, b""), text(1, draw(values))]))]
    parts += [text(2, each) for each in some]
    parts += [number(3, each) for each in draw(st.lists(hits, max_size=1))]
    if shape == 6:
        parts = draw(st.permutations([*parts, draw(unknown)]))
    elif shape == 7:
        parts.append(draw(wrong_kind))
    return b"".join(parts)


@st.composite
def broken(draw, whole):
    """Draw bytes and change a few of them."""
    said = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(said) - 1)))
        kind = draw(st.integers(0, 3))
        if kind == 0 and said:
            said[at] ^= draw(st.integers(1, 255))
        elif kind == 1:
            del said[at : at + draw(st.integers(1, 20))]
        elif kind == 2:
            said[at:at] = said[at : at + draw(st.integers(1, 20))]
        else:
            said[at:at] = draw(st.binary(min_size=1, max_size=4))
    return bytes(said)


bodies = st.integers(0, 3).flatmap(lambda dice: requests() if dice else broken(requests()))
batches = st.lists(bodies, min_size=1, max_size=3).map(lambda some: [*some, some[0]])
"""Calls that arrive together; the first request comes twice, so that its plan is a remembered one."""
