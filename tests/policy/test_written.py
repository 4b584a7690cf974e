"""Where limits were written, through slices."""

import pickle
import sys

import pytest

from ratelimitd.policy import (
    Assembly,
    DomainRow,
    FixedWindowKeys,
    NodeRow,
    Where,
    assemble,
    slices,
    where_of,
    with_keys,
)
from ratelimitd.policy_file import parse

(LIMIT,) = parse([("p", b"domain: d\ndescriptors: [{key: k, rate_limit: {unit: day}}]")]).nodes[1].limits
DOMAIN = DomainRow(b"d", "fixed_window", all_or_nothing=False, identity=None)


def row(name, file="", *lines, limits=0):
    return NodeRow(0, b"k", name, (LIMIT,) * max(limits, len(lines)), None, 0, file, lines)


ROWS = [
    DOMAIN,
    row(b"a", "one.yaml", 3),
    row(b"no-limits", "one.yaml"),
    row(b"b", "one.yaml", 70_000, 5),
    row(b"nowhere", limits=2),
    row(b"c", "two.yaml", 3),
    row(b"d", "res", 0),
    row(b"e", "one.yaml", 9),
]
PLACES = {
    b"a": [Where("one.yaml", 3, resource=False)],
    b"no-limits": [],
    b"b": [Where("one.yaml", 70_000, resource=False), Where("one.yaml", 5, resource=False)],
    b"nowhere": [None, None],
    b"c": [Where("two.yaml", 3, resource=False)],
    b"d": [Where("res", None, resource=True)],
    b"e": [Where("one.yaml", 9, resource=False)],
}


def places(policy):
    return {
        node.value: [where_of(policy, node, index) for index in range(len(node.limits))] for node in policy.nodes[1:]
    }


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_each_limit_has_its_place_however_the_policy_is_cut(size):
    """File and line, a resource without a line, or none; equal limits, which are shared, have places of their own."""
    assembly = Assembly()
    for piece in slices(ROWS, size):
        assembly.add(pickle.loads(pickle.dumps(piece)))
    assert places(assembly.policy) == PLACES
    assert len({id(limit) for node in assembly.policy.nodes for limit in node.limits}) <= 3


def test_safe_keys_leave_the_places():
    """FIXED_WINDOW_KEYS makes other limits of the same rows."""
    assert places(assemble(with_keys(ROWS, FixedWindowKeys.SAFE))) == PLACES


def test_an_index_without_a_limit_has_no_place():
    """Not that of the next descriptor's limit, nor of the previous one's."""
    policy = assemble(ROWS)
    a, no_limits = policy.nodes[1:3]
    assert [where_of(policy, *each) for each in ((a, 1), (a, -1), (no_limits, 0), (no_limits, -1))] == [None] * 4


def test_a_place_takes_a_few_bytes():
    """Beside what its limit takes: a policy has up to 100,000, of 60 bytes or more in their file."""
    assembly = Assembly()
    for piece in slices([DOMAIN, *(row(b"%d" % number, "one.yaml", number) for number in range(10_000))]):
        assembly.add(pickle.loads(pickle.dumps(piece)))
    written = assembly.policy.written
    assert sum(map(sys.getsizeof, (*written, *written.files, *written.starts))) < 6 * 10_000


def test_a_place_in_words():
    """As an editor takes it, on one line of a terminal."""
    assert str(Where("one.yaml", 3, resource=False)) == "one.yaml:3"
    assert str(Where("res", None, resource=True)) == "resource res"
    assert str(Where("a\nb\udc80.yaml", 3, resource=False)) == "a\\nb\\udc80.yaml:3"
