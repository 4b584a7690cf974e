"""RateLimitRequests as a protobuf library writes them, what may become of them, and the two readers side by side."""

import random

from hypothesis import strategies as st

from ratelimitd.proto import message
from ratelimitd.rls import Bounds, RequestError
from ratelimitd.rls.decode import parse, walk
from tests.fuzz.runs import Seen, fuzz
from tests.fuzz.wire import LENGTH, bodies, broken, varint

Request = message("ratelimitd.wire.v1.RateLimitRequest")

uint32, uint64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 63) - 1)
names = st.sampled_from([b"", b"k", b"\xff\0", b"x" * 127, b"y" * 128, b"z" * 300]) | st.binary(max_size=9)


@st.composite
def messages(draw):
    """Draw a request with any of its fields, serialized."""
    made = Request(domain=draw(names) or b"d", hits_addend=draw(st.just(0) | uint32))
    for kind in draw(st.lists(st.integers(0, 7), min_size=1, max_size=3)):
        descriptor = made.descriptors.add(is_negative_hits=kind in (1, 2))
        for key, value in draw(st.lists(st.tuples(names, names), max_size=3)):
            descriptor.entries.add(key=key, value=value)
        if kind in (2, 3, 4):
            descriptor.limit.SetInParent()
            descriptor.limit.requests_per_unit = draw(st.just(0) | uint32)
            descriptor.limit.unit = draw(st.integers(0, 9) | uint32)
            if draw(st.booleans()):
                descriptor.limit.unit_multiplier.value = draw(st.just(0) | uint32)
        if kind in (4, 5):
            descriptor.hits_addend.SetInParent()
            descriptor.hits_addend.value = draw(st.just(0) | uint64)
    return made.SerializeToString()


def number_at(body, at):
    """Return the varint at a place, and its end."""
    end = next(end for end in range(at, len(body)) if body[end] < 0x80) + 1
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(body[at:end])), end


def shuffled(body, descriptor, dice):
    """The same fields in another order, in each message; numbers and texts are repeated now and then."""
    parts, at = [], 0
    while at < len(body):
        tag, content = number_at(body, at)
        value, end = number_at(body, content)
        field = descriptor.fields_by_number[tag >> 3]
        part = body[at:end]
        if tag & 7 == LENGTH:
            inside, end = body[end : end + value], end + value
            if field.message_type:
                inside = shuffled(inside, field.message_type, dice)
            part = varint(tag) + varint(len(inside)) + inside
        parts += [part] * (1 if field.message_type else dice.choice((1, 1, 2)))
        at = end
    dice.shuffle(parts)
    return b"".join(parts)


reordered = st.tuples(messages(), st.integers(0, 1 << 30)).map(
    lambda pair: shuffled(pair[0], Request.DESCRIPTOR, random.Random(pair[1]))
)
joined = st.tuples(messages(), messages()).map(b"".join)
"""Two requests in one: their descriptors, and the domain and hits of the second."""

cut = st.tuples(messages(), st.integers(0, 99)).map(lambda pair: pair[0][: len(pair[0]) * pair[1] // 100])

any_requests = st.integers(0, 7).flatmap(
    lambda dice: bodies if dice == 0 else broken(messages()) if dice == 1 else cut if dice == 2
    else joined if dice < 5 else reordered
)  # fmt: skip
"""Mostly valid ones: every part of them must be read alike by the walk and by the library."""


def parsed(body):
    """What the library makes of a body, or the text of the error."""
    try:
        return parse(body, Bounds())
    except RequestError as error:
        return str(error)


def walked(body):
    """Hold the walk against the library; return whether it answered."""
    request = walk(body, Bounds())
    assert request is None or request == parsed(body)
    return request is not None


def compare(examples):
    """Hold the walk against the library for so many requests; return how many it took."""
    seen = Seen()
    fuzz(any_requests, examples, lambda body: seen.reached(*["taken"] * walked(body)))
    return seen
