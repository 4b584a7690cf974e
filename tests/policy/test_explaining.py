"""An explanation agrees with the match, and says what would have matched."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.policy import (
    Descriptor,
    DescriptorNode,
    Domain,
    Ended,
    Limit,
    Override,
    Step,
    Took,
    Unit,
    explain,
    match,
)
from ratelimitd.policy.explaining import EXAMINED, likeness
from ratelimitd.policy_file import parse
from testkit.examples import examples

NAMES = [(key, pattern) for key in ("a", "b", "a_b") for pattern in ("b", "*", "", "bb", "b*", "*b")]
LIMITS = st.sampled_from([(Limit(None),), (Limit(None, 1), Limit(None, 2)), ()])
"""Few texts, so that several branches of a level match an entry."""


@st.composite
def nodes(draw, depth=1):
    """Children of a node, by final key, as the parser leaves them: unique among siblings."""
    made = {}
    for key, pattern in draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]:
        node = DescriptorNode(key.encode(), pattern.encode(), draw(LIMITS))
        if depth and draw(st.booleans()):
            for child in draw(nodes(depth - 1)):
                node.add_child(child)
        made.setdefault(node.final_key, node)
    return list(made.values())


@st.composite
def domains(draw):
    root = DescriptorNode()
    for node in draw(nodes()):
        root.add_child(node)
    return Domain(b"d", root, "fixed_window", False)


ENTRY = st.tuples(st.sampled_from(["a", "b", "a_b", ""]), st.sampled_from(["b", "bb", "x", ""]))
ENTRIES = st.lists(ENTRY, min_size=1, max_size=2) | st.lists(ENTRY, max_size=3)
OVERRIDES = st.none() | st.builds(
    Override, st.integers(0, 9), st.sampled_from([Unit.UNKNOWN, Unit.HOUR]), st.integers(1, 2)
)


@settings(max_examples=examples(3))
@given(domains(), ENTRIES, OVERRIDES)
def test_it_finds_what_the_match_finds(domain, entries, override):
    """The same limits at the same path, whatever the tree; where the match finds none, it says where that ended."""
    descriptor = Descriptor(tuple((key.encode(), value.encode()) for key, value in entries), override)
    found, told = match(domain, descriptor), explain(domain, descriptor)
    assert told.limits == (() if found is None else found.limits)
    assert (told.ended in {Ended.LIMITED, Ended.OVERRIDDEN}) is (found is not None)
    if found is not None:
        assert told.path == found.path
    if told.ended is not Ended.OVERRIDDEN:
        assert [step.entry for step in told.steps] + list(told.rest) == list(descriptor.entries)


TREE = """
domain: d
descriptors:
  - key: tenant
    value: acme
    descriptors:
      - {key: path, value: /api, rate_limit: {unit: second, requests_per_unit: 1}}
      - {key: path, value: /apis/*, rate_limit: {unit: second, requests_per_unit: 2}}
      - {key: method, rate_limit: {unit: second, requests_per_unit: 3}}
  - {key: tenant, rate_limit: {unit: second, requests_per_unit: 4}}
  - {key: tenant, value: "a*", rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: allowed}
"""


def told(*texts):
    policy = parse([("p.yaml", TREE.encode())])
    entries = tuple(tuple(text.encode().split(b"=")) for text in texts)
    return explain(policy.domains[b"d"], Descriptor(entries))


def test_each_step_has_its_branch_and_those_it_passed_over():
    """The exact value precedes a wildcard, which precedes the key alone; there is no way back."""
    assert told("tenant=acme", "path=/apis/x").steps == (
        Step((b"tenant", b"acme"), Took.VALUE, b"tenant_acme", (b"tenant_a*", b"tenant")),
        Step((b"path", b"/apis/x"), Took.WILDCARD, b"path_/apis/*"),
    )
    assert told("tenant=b").steps == (Step((b"tenant", b"b"), Took.KEY, b"tenant"),)


@pytest.mark.parametrize(
    ("texts", "nearest"),
    [
        (("tenant=acme", "path=/API"), b"path_/api"),
        (("tenant=acme", "paht=/api"), b"path_/api"),
        (("tenant=acme", "path=/apis2"), b"path_/apis/*"),
        (("tenant=acme", "methods=GET"), b"method"),
        (("Tenant=acme",), b"tenant_acme"),
    ],
)
def test_an_entry_without_a_branch_is_told_the_nearest_one(texts, nearest):
    """Of the names at that level: one with the same key if there is any, whatever the case of its letters."""
    explanation = told(*texts)
    assert (explanation.ended, explanation.nearest[0]) == (Ended.NO_BRANCH, nearest)


def test_entries_in_the_wrong_order_are_noticed():
    """An entry that comes too late would have matched here."""
    explanation = told("method=GET", "tenant=acme")
    assert (explanation.rest, explanation.later) == (
        ((b"method", b"GET"), (b"tenant", b"acme")),
        ((b"tenant", b"acme"),),
    )


def test_a_descriptor_with_too_many_entries_is_told_that_fewer_would_do():
    """The entries so far have a limit, which does not apply to a longer descriptor."""
    explanation = told("tenant=b", "path=/api")
    assert (explanation.ended, explanation.limited_above, explanation.nearest) == (Ended.NO_BRANCH, True, ())
    assert not told("tenant=acme", "path=x").limited_above


def test_a_descriptor_that_ends_above_the_limits_is_told_what_is_below():
    """With too few entries the names of the next level are shown; an exempt value has none."""
    assert told("tenant=acme").nearest == (b"path_/api", b"path_/apis/*", b"method")
    assert (told("allowed=x").ended, told("allowed=x").nearest) == (Ended.NO_LIMITS, ())


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_likeness_is_a_share(one, other):
    """From 0 to 1, 1 for equal texts, the same in both directions."""
    assert 0 <= likeness(one, other) <= 1
    assert likeness(one, other) == likeness(other, one)
    assert likeness(one, one.upper()) == 1


@pytest.mark.alone
def test_a_large_level_does_not_hold_the_event_loop():
    """Of a hundred thousand siblings only some are compared."""
    root = DescriptorNode()
    for n in range(100_000):
        root.add_child(DescriptorNode(b"key", b"%d" % n))
    began = time.process_time()
    explanation = explain(Domain(b"d", root, "fixed_window", False), Descriptor(((b"key", b"none"),)))
    assert len(explanation.nearest) == 3
    assert time.process_time() - began < 0.05
    assert EXAMINED < 100_000
