"""What another replica sends is looked at before it is merged."""

import math

import pytest

from ratelimitd.live import KINDS, fault, merged
from tests.live.documents import EPOCH, empty_overview, history, key, limit, limits, row

GOOD = {
    "overview": empty_overview(),
    "history": history(),
    "limits": limits(row()),
    "limit": limit(key(), history=history()),
    "denials": {"version": 1, "time": EPOCH, "denials": [{"time": EPOCH, "id": "a", "key": "k"}]},
}


def spoilt(value, spoil):
    """Every variant of a value in which one thing is spoilt, or left out."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield {other: kept for other, kept in value.items() if other != name}
            yield from ({**value, name: worse} for worse in spoilt(each, spoil))
    elif isinstance(value, list):
        yield from ([worse] for each in value[:1] for worse in spoilt(each, spoil))
    yield spoil


@pytest.mark.parametrize("kind", GOOD)
def test_documents_are_taken(kind):
    """Those of this version, with fields that it does not know."""
    assert GOOD.keys() == KINDS.keys()
    assert fault(kind, GOOD[kind]) == ""
    assert fault(kind, {**GOOD[kind], "more": object()}) == ""


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize(
    "spoil",
    ["x", None, True, -1.5, math.nan, math.inf, 1 << 70, 10**400, [], {}, [None], {"end": 1}],
    ids=lambda spoil: repr(spoil)[:20],
)
def test_what_is_taken_can_be_merged(kind, spoil):
    """A document with anything in it is either refused, with a reason, or merged without an error."""
    for document in spoilt(GOOD[kind], spoil):
        if not fault(kind, document):
            merged(kind, [GOOD[kind], document])
            merged(kind, [document, GOOD[kind]])


@pytest.mark.parametrize(
    ("kind", "document", "said"),
    [
        ("history", [], "it is no object"),
        ("history", {**history(), "version": 2}, "version 2 of the documents, and this replica knows version 1"),
        ("history", {"version": 1}, "'history' has no 'time'"),
        ("history", history(EPOCH + 1), "'end' is not of its type"),
        ("history", history(allowed=[1, True]), "'allowed' is not of its type"),
        ("limits", limits({**row(), "rates": {}}), "'rates' has no 'allowed'"),
        ("limits", limits(row(active_keys=math.nan)), "'active_keys' is not of its type"),
        ("limits", {**limits(), "limits": {}}, "'limits' is no list"),
        ("limits", limits("x"), "'limits' is no object"),
    ],
)
def test_a_fault_is_named(kind, document, said):
    """With the field that has it."""
    assert said in fault(kind, document)
