"""A policy in slices."""

import pickle

import pytest

from ratelimitd.policy import Assembly, assemble, slices
from ratelimitd.policy.rows import KeysRow, NodeRow
from ratelimitd.policy_file import examine

HEAD = "domain: test-domain\ndescriptors:\n"


def test_slices_are_bounded_and_make_the_same_policy():
    """However a policy is cut, each slice is small and the whole is what assembling at once gives."""
    text = HEAD + "".join(
        f"- {{key: k{n}, rate_limit: {{unit: day, requests_per_unit: {n % 7}}}, metadata: {{m: {'x' * 3000}}}}}\n"
        for n in range(300)
    )
    rows = examine([("p.yaml", text.encode())]).rows
    cut = list(slices(rows, 100))
    assert max(len(piece.rows) for piece in cut) <= 100 // 4 + 1
    assembly = Assembly()
    for piece in cut:
        assembly.add(pickle.loads(pickle.dumps(piece)))
    assert same(assembly.policy.nodes, assemble(rows).nodes)
    groups = {id(node.limits) for node in assembly.policy.nodes if node.limits}
    assert len(groups) == 7


def same(left, right):
    def told(node):
        wildcards = [pattern for pattern, _ in node.wildcards or ()]
        return (node.key, node.value, node.limits, node.metadata, list(node.children), wildcards)

    return [told(node) for node in left] == [told(node) for node in right]


def test_a_parent_comes_before_its_children():
    """Rows can be assembled, and nodes taken apart, without looking ahead."""
    text = HEAD + "- {key: a, descriptors: [{key: b, descriptors: [{key: c}]}, {key: d}]}\n- key: e\n"
    rows = examine([("p.yaml", text.encode())]).rows
    assert [(row.key, row.parent) for row in rows if isinstance(row, NodeRow)] == [
        (b"a", 0),
        (b"b", 1),
        (b"c", 2),
        (b"d", 1),
        (b"e", 0),
    ]


def test_keys_need_an_identity():
    """API keys of a domain that does not identify callers are an error, and not dropped."""
    rows = examine([("p.yaml", HEAD.encode() + b"- key: a\n")]).rows
    keys = KeysRow(b"test-domain", b"gold", bytes(32))
    with pytest.raises(ValueError, match="keys of a domain without an identity"):
        assemble([*rows, keys])
