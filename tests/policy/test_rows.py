"""A policy in slices."""

import pickle
from hashlib import sha256

import pytest

from ratelimitd.policy import Assembly, Identity, assemble, find, slices
from ratelimitd.policy.rows import DomainRow, KeysRow, NodeRow
from ratelimitd.policy_file import examine
from ratelimitd.sharded import SMALL, ShardedDict

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


@pytest.mark.scenario("the event loop is blocked")
def test_what_has_the_size_of_the_policy_is_in_parts():
    """Children, wildcards and API keys beyond a small number are in parts, and each is found as before."""
    many = range(2 * SMALL)
    (group,) = {row.limits for row in limited_rows()}
    names = [b"%d" % number for number in many] + [b"a%d-*" % number for number in many]
    assembly = Assembly()
    for piece in slices(
        [
            DomainRow(
                b"d",
                "fixed_window",
                all_or_nothing=False,
                identity=Identity(b"k", b"ip", 64, {}),
                upstream_overrides=False,
            ),
            *(NodeRow(0, b"k", name, group, None, 0) for name in names),
            *(KeysRow(b"d", b"gold", sha256(name).digest()) for name in names),
        ]
    ):
        assembly.add(piece)
    domain = assembly.policy.domains[b"d"]
    assert isinstance(domain.root.children, ShardedDict)
    assert isinstance(domain.root.wildcards._by_ends, ShardedDict)
    assert isinstance(domain.identity.tiers, ShardedDict)
    assert [find(domain, ((b"k", value),)).value for value in (b"0", b"8191", b"a0-z", b"a8191-")] == [
        b"0",
        b"8191",
        b"a0-*",
        b"a8191-*",
    ]
    assert find(domain, ((b"k", b"8192"),)) is None
    assert domain.identity.tiers.get(sha256(b"8191").digest()) == b"gold"


def limited_rows():
    """Rows with a limit."""
    text = HEAD + "- {key: k, rate_limit: {unit: day, requests_per_unit: 1}}\n"
    return [row for row in examine([("p.yaml", text.encode())]).rows if isinstance(row, NodeRow)]


def test_keys_need_an_identity():
    """API keys of a domain that does not identify callers are an error, and not dropped."""
    rows = examine([("p.yaml", HEAD.encode() + b"- key: a\n")]).rows
    keys = KeysRow(b"test-domain", b"gold", bytes(32))
    with pytest.raises(ValueError, match="keys of a domain without an identity"):
        assemble([*rows, keys])
