"""The walk over the form that Envoy writes, beside the protobuf library, which reads every form."""

import pytest
from hypothesis import given, settings

from ratelimitd.limiter import LimitRequest
from ratelimitd.policy import Descriptor, Override, Unit
from ratelimitd.rls import Bounds, RequestError
from ratelimitd.rls.decode import WALK_BYTES, decode, parse, walk
from tests.fuzz.runs import LEAST_SHARE
from tests.fuzz.wire import FIXED32, FIXED64, GROUP, number, text, varint
from tests.fuzz.written import Request, compare, messages, parsed, walked

BOUNDS = Bounds()

ENTRY = text(1, text(1, b"k") + text(2, b"v"))
LEASE = text(1, text(1, b"ratelimitd.lease") + text(2, b"id"))
HEAD = text(1, b"d")
PLAIN = HEAD + text(2, ENTRY)
TWICE = text(2, number(1, 5)) + text(2, number(2, 2))


def one(total=0, **fields):
    """A request of one descriptor, as it has to be read."""
    return LimitRequest(b"d", (Descriptor(((b"k", b"v"),), **fields),), total)


@settings(max_examples=200, deadline=None)
@given(messages())
def test_what_a_library_writes_is_taken(body):
    """Every request that a protobuf library serializes is read by the walk, as the library reads it."""
    assert walk(body, BOUNDS) == parse(body, BOUNDS)
    assert decode(body, BOUNDS) == parse(body, BOUNDS)


def test_where_the_walk_answers_it_equals_the_library():
    """Reordered, repeated, joined, cut or changed: the walk answers most, and each as the library does."""
    assert compare(200).share("taken") >= LEAST_SHARE


def fields(descriptor, path=()):
    """Each field of a message and of the messages in it, with the numbers of the fields that it is in."""
    for field in descriptor.fields:
        yield path, field
        if field.message_type:
            yield from fields(field.message_type, (*path, field.number))


VALUES = {
    "TYPE_BYTES": [text, b"", b"x", b"y" * 127, b"z" * 128],
    "TYPE_MESSAGE": [text, b""],
    "TYPE_UINT32": [number, 0, 1, 7, 127, 128, (1 << 32) - 1, 1 << 32, (1 << 40) + 3],
    "TYPE_UINT64": [number, 0, 1, 127, 128, (1 << 32) + 5, (1 << 63) - 1],
    "TYPE_BOOL": [number, 0, 1, 2, 300, 1 << 40],
}
TYPES = {getattr(Request.DESCRIPTOR.fields[0], name): values for name, values in VALUES.items()}


def each_field():
    """A request for each field and value, written out, defaults too."""
    for path, field in fields(Request.DESCRIPTOR):
        write, *values = TYPES[field.type]
        for value in values:
            body = write(field.number, value)
            for outer in reversed(path):
                body = text(outer, body)
            yield pytest.param(body, id=f"{field.full_name.partition('v1.')[2]}-{str(value)[:20]}")


@pytest.mark.parametrize("field", list(each_field()))
def test_each_field_is_read_by_the_walk(field):
    """Of every message in a request, the walk knows every field, and its defaults when they are written."""
    for body in (text(1, b"first") + field + PLAIN, text(2, ENTRY) + field + HEAD):
        assert walk(body, BOUNDS) == parse(body, BOUNDS)


READ = {
    "explicit defaults": (PLAIN + number(3, 0), one()),
    "last hits": (PLAIN + number(3, 4) + number(3, 9), one(9)),
    "hits of more than 32 bits": (PLAIN + number(3, (1 << 32) + 7), one(7)),
    "last domain": (text(1, b"e") + PLAIN, one()),
    "descriptors first": (text(2, ENTRY) + HEAD, one()),
    "value before key": (HEAD + text(2, text(1, text(2, b"v") + text(1, b"k"))), one()),
    "last key": (HEAD + text(2, text(1, text(1, b"x") + text(1, b"k") + text(2, b"v"))), one()),
    "no entries": (HEAD + text(2, b""), LimitRequest(b"d", (Descriptor(()),))),
    "no key": (HEAD + text(2, text(1, b"")), LimitRequest(b"d", (Descriptor(((b"", b""),)),))),
    "empty override": (HEAD + text(2, ENTRY + text(2, b"")), one(override=Override(0, Unit.UNKNOWN))),
    "override": (HEAD + text(2, ENTRY + text(2, number(1, 50) + number(2, 6))), one(override=Override(50, Unit.YEAR))),
    "unknown unit": (
        HEAD + text(2, text(2, number(2, 99) + number(1, 50)) + ENTRY),
        one(override=Override(50, Unit.UNKNOWN)),
    ),
    "unit of more than 32 bits": (
        HEAD + text(2, ENTRY + text(2, number(2, (1 << 32) + 2))),
        one(override=Override(0, Unit.MINUTE)),
    ),
    "multiplier": (
        HEAD + text(2, ENTRY + text(2, text(3, number(1, 300)) + number(2, 2))),
        one(override=Override(0, Unit.MINUTE, 300)),
    ),
    "multiplier of 0": (
        HEAD + text(2, ENTRY + text(2, number(2, 2) + text(3, number(1, 0)))),
        one(override=Override(0, Unit.MINUTE)),
    ),
    "empty multiplier": (
        HEAD + text(2, ENTRY + text(2, text(3, b"") + number(2, 2))),
        one(override=Override(0, Unit.MINUTE)),
    ),
    "largest multiplier": (
        HEAD + text(2, ENTRY + text(2, number(2, 6) + text(3, number(1, (1 << 32) - 1)))),
        one(override=Override(0, Unit.YEAR, (1 << 32) - 1)),
    ),
    "multiplier of more than 32 bits": (
        HEAD + text(2, ENTRY + text(2, number(2, 1) + text(3, number(1, (1 << 32) + 7)))),
        one(override=Override(0, Unit.SECOND, 7)),
    ),
    "multiplier of 2**32, whose 32 bits are 0": (
        HEAD + text(2, ENTRY + text(2, number(2, 1) + text(3, number(1, 1 << 32)))),
        one(override=Override(0, Unit.SECOND)),
    ),
    "empty hits_addend": (HEAD + text(2, ENTRY + text(3, b"")), one(hits=0)),
    "hits_addend": (HEAD + text(2, text(3, number(1, 1 << 40)) + ENTRY), one(hits=1 << 40)),
    "negative": (HEAD + text(2, ENTRY + number(4, 2)), one(negative=True)),
    "lease": (HEAD + text(2, LEASE + ENTRY), one(lease=b"id")),
    "lease without a value": (HEAD + text(2, ENTRY + text(1, text(1, b"ratelimitd.lease"))), one(lease=b"")),
    "last lease": (HEAD + text(2, text(1, text(1, b"ratelimitd.lease")) + ENTRY + LEASE), one(lease=b"id")),
    "lease alone": (HEAD + text(2, LEASE), LimitRequest(b"d", (Descriptor((), lease=b"id"),))),
    "no longer negative": (HEAD + text(2, ENTRY + number(4, 1) + number(4, 0)), one(negative=False)),
}


@pytest.mark.parametrize(("body", "request_"), READ.values(), ids=READ)
def test_a_form_that_the_walk_reads(body, request_):
    """Any order, defaults written out, the last of several numbers or texts: as protobuf reads them."""
    assert walk(body, BOUNDS) == request_
    assert parse(body, BOUNDS) == request_


LONG = b"\x80" * 9 + b"\x01"
"""A varint of ten bytes: 2**63."""

OTHER = {
    "empty": b"",
    "no domain": text(2, ENTRY),
    "empty domain": text(1, b"") + text(2, ENTRY),
    "domain emptied": PLAIN + text(1, b""),
    "no descriptors": HEAD,
    "unknown field": PLAIN + number(4, 1),
    "unknown text": text(15, b"x") + PLAIN,
    "unknown field of two bytes": PLAIN + number(16, 1),
    "unknown in a descriptor": HEAD + text(2, ENTRY + number(5, 1)),
    "unknown in an entry": HEAD + text(2, text(1, text(1, b"k") + text(3, b"v"))),
    "unknown in an override": HEAD + text(2, ENTRY + text(2, number(4, 1))),
    "unknown in a multiplier": HEAD + text(2, ENTRY + text(2, text(3, number(2, 1)))),
    "multiplier as a number": HEAD + text(2, ENTRY + text(2, number(3, 1))),
    "multiplier twice": HEAD + text(2, ENTRY + text(2, text(3, number(1, 10)) + text(3, b""))),
    "multiplier past its override": HEAD + text(2, text(2, b"\x1a\x02") + ENTRY),
    "number past its multiplier": HEAD + text(2, text(2, text(3, b"\x08") + number(2, 2)) + ENTRY),
    "unknown in hits_addend": HEAD + text(2, ENTRY + text(3, number(2, 1))),
    "field 0": PLAIN + number(0, 1),
    "group": PLAIN + varint(9 << 3 | GROUP) + varint(9 << 3 | 4),
    "known field as a group": PLAIN + varint(3 << 3 | GROUP) + varint(3 << 3 | 4),
    "open group": PLAIN + varint(9 << 3 | GROUP),
    "end of a group": PLAIN + varint(9 << 3 | 4),
    "domain as a number": PLAIN + number(1, 1),
    "hits as text": PLAIN + text(3, b"x"),
    "hits as fixed32": PLAIN + varint(3 << 3 | FIXED32) + b"\1\0\0\0",
    "hits_addend as a number": HEAD + text(2, ENTRY + number(3, 2)),
    "negative as fixed64": HEAD + text(2, ENTRY + varint(4 << 3 | FIXED64) + b"\1" * 8),
    "needless bytes in a tag": PLAIN + b"\x98\x00\x01",
    "needless bytes in hits": PLAIN + b"\x18\x81\x00",
    "needless bytes in a length": b"\x0a\x81\x00d" + text(2, ENTRY),
    "hits of ten bytes": PLAIN + b"\x18" + LONG,
    "negative unit": HEAD + text(2, ENTRY + text(2, number(2, (1 << 64) - 1))),
    "largest hits_addend": HEAD + text(2, ENTRY + text(3, number(1, (1 << 64) - 1))),
    "hits of eleven bytes": PLAIN + b"\x18" + b"\x80" * 10 + b"\x01",
    "endless number": PLAIN + b"\x18" + b"\x80" * 5_000 + b"\x01",
    "length of ten bytes": PLAIN + b"\x0a" + LONG + b"x",
    "override twice": HEAD + text(2, ENTRY + TWICE),
    "override twice, first empty": HEAD + text(2, ENTRY + text(2, b"") + text(2, number(1, 5))),
    "hits_addend twice": HEAD + text(2, ENTRY + text(3, number(1, 7)) + text(3, b"")),
    "only a tag": PLAIN + b"\x0a",
    "cut in a number": PLAIN + b"\x18\x80",
    "domain past the end": text(2, ENTRY) + b"\x0a\x02d",
    "descriptor past the end": HEAD + b"\x12\x7f" + ENTRY,
    "entry past its descriptor": HEAD + text(2, b"\x0a\x02") + b"\x0a\x00",
    "key past its entry": HEAD + text(2, text(1, b"\x0a\x02k") + ENTRY),
    "value past its descriptor": HEAD + text(2, text(1, text(1, b"k") + b"\x12\x02v")) + text(1, b"d"),
    "override past its descriptor": HEAD + text(2, ENTRY + b"\x12\x02") + text(1, b"d"),
    "number past its override": HEAD + text(2, text(2, b"\x08") + ENTRY),
    "number past its hits_addend": HEAD + text(2, text(3, b"\x08") + ENTRY),
    "number past its descriptor": HEAD + text(2, ENTRY + b"\x20") + text(1, b"d"),
    "hits_addend past its descriptor": HEAD + text(2, ENTRY + b"\x1a\x02") + number(3, 1),
    "too many descriptors": HEAD + text(2, ENTRY) * (BOUNDS.descriptors + 1),
    "too many entries": HEAD + text(2, ENTRY * (BOUNDS.entries + 1)),
    "too large": PLAIN + number(3, 1) * (WALK_BYTES // 2),
}


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER)
def test_a_form_that_is_left_to_the_library(body):
    """What is odd, merged, cut or out of bounds gets no answer of the walk, and of ``decode`` the library's."""
    assert walk(body, BOUNDS) is None
    expected = parsed(body)
    if isinstance(expected, str):
        with pytest.raises(RequestError) as raised:
            decode(body, BOUNDS)
        assert str(raised.value) == expected
    else:
        assert decode(body, BOUNDS) == expected


def test_what_fits_the_bounds_is_taken():
    """As many descriptors and entries as are permitted, and a body as large."""
    assert walked(HEAD + text(2, ENTRY) * BOUNDS.descriptors)
    assert walked(HEAD + text(2, ENTRY * BOUNDS.entries))
    whole = text(2, text(1, text(1, b"k") + text(2, b"v" * (WALK_BYTES - 16))))
    assert len(HEAD + whole) <= WALK_BYTES
    assert walked(HEAD + whole)


def test_every_cut_of_a_request_is_met():
    """A request that ends after any of its bytes is read as the library reads it, or not at all."""
    limit = number(1, 300) + number(2, 2) + text(3, number(1, 300))
    whole = PLAIN + text(2, ENTRY + text(2, limit) + text(3, number(1, 300)) + number(4, 1))
    assert walked(whole)
    assert sum(walked(whole[:end]) for end in range(len(whole))) == 1  # the one that ends after a descriptor
    for at in range(len(whole)):
        for byte in range(256):
            walked(whole[:at] + bytes((byte,)) + whole[at + 1 :])
