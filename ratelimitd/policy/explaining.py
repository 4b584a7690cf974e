"""How a descriptor was matched: the branch of each entry, where the search ended, and what would have matched.

``match`` decides; this walks the same way, notes each step, and finds the same limits (a test compares them).
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from heapq import nlargest
from itertools import islice
from typing import Final, NamedTuple

from .matching import match
from .model import Descriptor, DescriptorNode, Domain, Entry, Limit
from .paths import OVERRIDE, is_override, path_of

NEAREST: Final = 3
"""Names shown of those that would have matched: as many as a person compares at a glance."""

EXAMINED: Final = 500
"""Children compared with the entries of a request: 2 ms of work, less than the 5 ms that may block the event loop."""

COMPARED: Final = 32
"""Bytes compared of each; longer names that begin alike are equally near."""


class Took(StrEnum):
    """The kinds of branches, in the order of precedence."""

    VALUE = "value"
    WILDCARD = "wildcard"
    KEY = "key"


class Ended(StrEnum):
    """Where a search ended."""

    LIMITED = "limited"
    OVERRIDDEN = "overridden"
    NO_BRANCH = "no_branch"
    NO_LIMITS = "no_limits"


class Step(NamedTuple):
    """An entry and the branch that it took; ``passed_over`` are those of lower precedence that match it as well."""

    entry: Entry
    took: Took
    name: bytes
    passed_over: tuple[bytes, ...] = ()


class Explanation(NamedTuple):
    """The search for the limits of one descriptor.

    Attributes:
        steps: the entries that found a branch.
        rest: the entries that did not: the first matches no branch, the others were not tried.
        limits: limits that apply; empty unless ``ended`` is LIMITED or OVERRIDDEN.
        path: path of the node where the search ended, as ``Match.path``.
        nearest: names of branches that would have led on: for NO_BRANCH those most like the entry, for NO_LIMITS those
            one level deeper.
        later: entries of ``rest``, except the first, that would have found a branch here: entries match in order.
        limited_above: whether the entries matched so far are a descriptor with limits of its own.
    """

    steps: tuple[Step, ...]
    ended: Ended
    rest: tuple[Entry, ...] = ()
    limits: tuple[Limit, ...] = ()
    path: bytes = b""
    nearest: tuple[bytes, ...] = ()
    later: tuple[Entry, ...] = ()
    limited_above: bool = False


def explain(domain: Domain, descriptor: Descriptor, examined: int = EXAMINED) -> Explanation:
    """Walk as ``match`` does, and explain each step; at most ``examined`` children are compared for ``nearest``."""
    entries = descriptor.entries
    if descriptor.override is not None:
        found = match(domain, descriptor)
        if found is not None and is_override(found.path):
            return Explanation((), Ended.OVERRIDDEN, (), found.limits, OVERRIDE + path_of([key for key, _ in entries]))
    node = domain.root
    steps: list[Step] = []
    for index, entry in enumerate(entries):
        branches = list(_branches(node, entry))
        if not branches:
            return _no_branch(node, steps, entries[index:], examined)
        (took, child), *others = branches
        steps.append(Step(entry, took, child.final_key, tuple(other.final_key for _, other in others)))
        node = child
    path = path_of([step.name for step in steps])
    if node.limits:
        return Explanation(tuple(steps), Ended.LIMITED, (), node.limits, path)
    deeper = tuple(child.final_key for child in islice(node.children.values(), NEAREST))
    return Explanation(tuple(steps), Ended.NO_LIMITS, (), (), path, deeper)


def _branches(node: DescriptorNode, entry: Entry) -> Iterator[tuple[Took, DescriptorNode]]:
    """Yield the branches that match an entry, at most one of each kind, in the order of precedence."""
    key, _ = entry
    text = b"%b_%b" % entry
    wildcard = None if node.wildcards is None else node.wildcards.find(text)
    seen: list[DescriptorNode] = []
    for took, child in (
        (Took.VALUE, node.children.get(text)),
        (Took.WILDCARD, wildcard),
        (Took.KEY, node.children.get(key)),
    ):
        if child is not None and child not in seen:
            seen.append(child)
            yield took, child


def _no_branch(node: DescriptorNode, steps: list[Step], rest: tuple[Entry, ...], examined: int) -> Explanation:
    return Explanation(
        tuple(steps),
        Ended.NO_BRANCH,
        rest,
        path=path_of([step.name for step in steps]),
        nearest=tuple(nearest(rest[0], islice(node.children.values(), examined))),
        later=tuple(entry for entry in rest[1:] if any(_branches(node, entry))),
        limited_above=bool(node.limits),
    )


def nearest(entry: Entry, nodes: Iterable[DescriptorNode]) -> list[bytes]:
    """Return the names of the nodes most like an entry, best first; those with its key precede all others."""
    key, _ = entry
    text = b"%b_%b" % entry

    def score(node: DescriptorNode) -> tuple[bool, float]:
        return node.key == key, likeness(node.final_key, text)

    return [node.final_key for node in nlargest(NEAREST, nodes, key=score)]


def likeness(one: bytes, other: bytes) -> float:
    """Return the share of two texts, without regard to case, that their common beginning and end make up: 0 to 1."""
    one, other = one[:COMPARED].lower(), other[:COMPARED].lower()
    shorter, longer = sorted((len(one), len(other)))
    if not longer:
        return 1.0
    before = _common(one[:shorter], other[:shorter])
    after = min(_common(one[::-1][:shorter], other[::-1][:shorter]), shorter - before)
    return (before + after) / longer


def _common(one: bytes, other: bytes) -> int:
    """Return the length of the common beginning of two texts of one length; as integers they differ below it."""
    differ = int.from_bytes(one) ^ int.from_bytes(other)
    return len(one) - (differ.bit_length() + 7) // 8
