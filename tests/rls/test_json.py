"""/json: bodies read as protobuf's own library reads them, at a price that a sender cannot raise."""

import json

import pytest
from google.protobuf import json_format

from ratelimitd.rls import Bounds, RequestError, decide_json, read_json
from ratelimitd.rls.decode import decode
from ratelimitd.transport import GrpcStatus
from tests.rls.conftest import Request
from tests.turning import turning

POLICY = "domain: d\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 3}}]\n"
BOUNDS = Bounds()


def body(*descriptors, **fields):
    return json.dumps({"domain": "d", "descriptors": list(descriptors), **fields}).encode()


def entries(*pairs, **more):
    return {"entries": [{"key": key, "value": value} for key, value in pairs], **more}


USER = entries(("user", "x"))
ONE = b'{"entries":[{"key":"user","value":"x"}]}'
LARGEST = entries(*[(f"key{n}", f"value{n}") for n in range(BOUNDS.entries)])
EMPTIEST = {"entries": [{}] * BOUNDS.entries}


@pytest.mark.parametrize(
    "valid",
    [
        body(USER),
        body(USER, {}, USER),
        body(USER, hitsAddend=3),
        body(USER, hits_addend="3"),
        body(USER, hitsAddend=2.0),
        body(entries(("user", 'a{b},"c"'), ("", ""), ("é\0", "\U0001f600"))),
        body({"entries": [{"key": None}, {"value": "v"}, {"key": "k", "value": None}, {}]}),
        body({"entries": None}, USER),
        body(entries(("user", "x"), limit={"requestsPerUnit": 5, "unit": "DAY"}, hitsAddend=7, isNegativeHits=True)),
        body(entries(("user", "x"), limit={"requests_per_unit": "5", "unit": 4}, hits_addend="7")),
        body(entries(("user", "x"), limit={"requestsPerUnit": 5, "unit": "MINUTE", "unitMultiplier": 10})),
        body(entries(("user", "x"), limit={"requests_per_unit": 5, "unit": 2, "unit_multiplier": "0"})),
        body(entries(("user", "x"), limit={"unit": "MINUTE", "unitMultiplier": None})),
        body(entries(("user", "x"), limit=None, hitsAddend=None, isNegativeHits=None)),
        body(*[USER] * BOUNDS.descriptors),
        b' {"descriptors" : [%s] ,\n"domain":"d"}\t' % ONE,
    ],
)
def test_a_body_means_what_it_means_to_protobufs_own_library(valid):
    """Names in either case, numbers as texts, null for what is absent; and braces and commas within texts."""
    expected = json_format.Parse(valid, Request()).SerializeToString()
    assert read_json(valid, BOUNDS) == decode(expected, BOUNDS)


@pytest.mark.parametrize(
    "invalid",
    [
        b"",
        b"\xff",
        b"nonsense",
        b"null",
        b'"d"',
        b"[" * 8_000,
        b'{"domain":' * 60,
        b'{"domain":"d","domain":"d","descriptors":[%s]}' % ONE,
        b'{"domain":"d","descriptors":[{"entries":[{"key":"a","key":"b"}]}]}',
        body(USER, unknown=1),
        body(USER, hitsAddend=-1),
        body(USER, hitsAddend=1 << 32),
        body(USER, hitsAddend=0.5),
        body(USER, hitsAddend=float("inf")),
        body(None),
        body("x"),
        body({"unknown": 1}),
        body({"entries": {}}),
        body({"entries": "x"}),
        body({"entries": [None]}),
        body({"entries": ["x"]}),
        body({"entries": [{"key": 1}]}),
        body({"entries": [{"key": ["x"]}]}),
        body({"entries": [{"Key": "x"}]}),
        body({"entries": [{"key": "\ud800"}]}),
        body(entries(("a", "b"), limit=5)),
        body(entries(("a", "b"), limit=[["x"]])),
        body(entries(("a", "b"), limit={"unit": "FORTNIGHT"})),
        body(entries(("a", "b"), hitsAddend={})),
        body(descriptors={}),
        body(descriptors="x"),
    ],
)
async def test_what_protobufs_own_library_refuses_is_refused(bench, invalid):
    """As INVALID_ARGUMENT, whatever it is, and never as an internal error."""
    with pytest.raises((json_format.ParseError, UnicodeError)):
        json_format.Parse(invalid, Request())
    with pytest.raises(RequestError):
        read_json(invalid, BOUNDS)
    assert (await decide_json(bench(POLICY).service, invalid))[0] is GrpcStatus.INVALID_ARGUMENT


@pytest.mark.parametrize("invalid", [b"[]", body([]), body({"entries": [[]]})])
def test_a_list_is_no_object(invalid):
    """Not even an empty one, which protobuf's library for Python takes and that for Go, upstream's, does not."""
    with pytest.raises(RequestError):
        read_json(invalid, BOUNDS)


async def test_a_body_is_decided(bench):
    """As over gRPC: three in an hour, then OVER_LIMIT."""
    made = bench(POLICY)
    answers = [await decide_json(made.service, body(USER)) for _ in range(4)]
    assert [status for status, _ in answers] == [GrpcStatus.OK] * 4
    assert [json.loads(text)["overallCode"] for _, text in answers] == ["OK"] * 3 + ["OVER_LIMIT"]


@pytest.mark.parametrize(
    ("large", "told"),
    [
        (body(*[{}] * 65), "65 descriptors exceed MAX_DESCRIPTORS=64"),
        (body({"entries": [{}] * 33}), "33 entries in one descriptor exceed MAX_ENTRIES=32"),
        (body(*[{}] * 2_600), "more objects or values than MAX_DESCRIPTORS=64 and MAX_ENTRIES=32 allow"),
        (body({"entries": [0] * 9_000}), "more objects or values than MAX_DESCRIPTORS=64 and MAX_ENTRIES=32 allow"),
    ],
)
def test_more_than_a_request_may_have_is_refused(large, told):
    """Each error names the bound."""
    with pytest.raises(RequestError) as caught:
        read_json(large, BOUNDS)
    assert str(caught.value) == told


@pytest.mark.scenario("the event loop is blocked")
@pytest.mark.parametrize(
    "full",
    [
        b'{"domain":"d","descriptors":[%s]}' % b",".join([b"{}"] * 2_600),
        b'{"domain":"d","descriptors":[{"entries":[%s]}]}' % b",".join([b"{}"] * 2_600),
        b'{"domain":"d","descriptors":[%s]}' % b",".join([b"[]"] * 40_000),
        b'{"domain":"d","descriptors":[%s]}' % b",".join([b"1e9"] * 30_000),
    ],
    ids=["descriptors", "entries", "lists", "numbers"],
)
def test_a_body_that_is_too_full_is_refused_before_it_is_parsed(monkeypatch, full):
    """It costs a count of two bytes, however full it is."""
    parsed = []
    monkeypatch.setattr(json, "loads", lambda *_, **__: parsed.append("parsed"))
    with pytest.raises(RequestError, match="more objects or values"):
        read_json(full, BOUNDS)
    assert parsed == []


@pytest.mark.scenario("the event loop is blocked")
@pytest.mark.parametrize("entry", [EMPTIEST, LARGEST], ids=["empty", "honest"])
def test_entries_are_not_converted_by_the_library(monkeypatch, entry):
    """A body has up to 2,048, and it takes four times as long: 20 to 40 ms for all, where 5 may hold the event loop."""
    convert = json_format.ParseDict
    converted = []

    def counted(fields, message):
        converted.append(dict(fields))
        return convert(fields, message)

    monkeypatch.setattr(json_format, "ParseDict", counted)
    read_json(body(*[entry] * BOUNDS.descriptors), BOUNDS)
    assert converted == [{"domain": "d"}]


async def test_the_loop_turns_while_a_large_body_is_converted(bench):
    """Once for each sixteen descriptors."""
    made = bench(POLICY)
    with turning() as turns:
        await decide_json(made.service, body(*[LARGEST] * BOUNDS.descriptors))
    assert turns.count >= BOUNDS.descriptors // 16
