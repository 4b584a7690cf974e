"""Where the descriptors of a route's requests end in a tree, for all values that a request may have."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from operator import itemgetter
from typing import Final

from ratelimitd.policy import STAR, DescriptorNode

from .routes import Item
from .tree import DomainTree

_Value = bytes | frozenset[bytes] | None
"""One value, one of some, or any."""

Form = tuple[tuple[bytes, _Value], ...]
"""The entries of a descriptor as they are matched."""

_SKIPPED_MAX: Final = 6
"""Entries of one item that may be absent and are tried in every combination: 64 forms."""

NOTHING: Final[frozenset[str]] = frozenset()


class Requests:
    """The requests of all routes, against the tree of one domain."""

    def __init__(self, tree: DomainTree) -> None:
        self.tree = tree
        self._tiers = frozenset(tree.tiers)
        self._ends: dict[Form, frozenset[DescriptorNode]] = {}
        self._children: dict[DescriptorNode, _Children] = {}

    def forms(self, item: Item, absent: frozenset[str] = NOTHING, *, known: bool | None = None) -> Iterator[Form]:
        """Yield what an item sends for callers without the headers and parameters in ``absent``.

        ``known``: whether the caller has a listed API key, if the domain has an identity; None: either.
        """
        entries: list[tuple[bytes, _Value]] = []
        for entry in item.entries or ():
            if not entry.needs or entry.needs not in absent:
                entries.append((entry.key, entry.value))
            elif not entry.skipped:
                return
        yield from self.identified(entries, known=known)

    def identified(self, entries: Sequence[tuple[bytes, _Value]], *, known: bool | None = None) -> Iterator[Form]:
        """Yield entries as they are matched, as ``policy.identify`` makes them of a request."""
        identity = self.tree.identity
        if identity is None:
            yield tuple(entries)
            return
        if known is not False and self._tiers and any(key == identity.key for key, _ in entries):
            yield tuple(
                (key, self._tiers if key == identity.key else value)
                for key, value in entries
                if key != identity.otherwise
            )
            if known:
                return
        yield tuple(entry for entry in entries if entry[0] != identity.key)

    def all_forms(self, item: Item) -> Iterator[Form]:
        """Yield everything that an item may send."""
        skipped = [entry.needs for entry in item.entries or () if entry.skipped and entry.needs][:_SKIPPED_MAX]
        some = chain.from_iterable(combinations(skipped, size) for size in range(len(skipped) + 1))
        return chain.from_iterable(self.forms(item, frozenset(absent)) for absent in some)

    def ends(self, form: Form) -> frozenset[DescriptorNode]:
        """Return the descriptors of the tree at which requests with these entries may end."""
        if not form:
            return frozenset()
        known = self._ends.get(form)
        if known is None:
            known = frozenset((self.tree.root,))
            for key, value in form:
                known = self.step(known, key, value)
            self._ends[form] = known
        return known

    def limited(self, form: Form) -> bool:
        """Whether some request with these entries meets a limit."""
        return any(node.limits for node in self.ends(form))

    def step(self, nodes: frozenset[DescriptorNode], key: bytes, value: _Value) -> frozenset[DescriptorNode]:
        """Return the descriptors that one more entry leads to."""
        if value is None:
            found = chain.from_iterable(self.children(node).matched(key) for node in nodes)
            return frozenset(found) - self.tree.shadowed.keys()
        values = (value,) if isinstance(value, bytes) else value
        selected = (_next(node, key, each) for node in nodes for each in values)
        return frozenset(node for node in selected if node is not None)

    def children(self, node: DescriptorNode) -> "_Children":
        """Return the index of the children of a descriptor."""
        known = self._children.get(node)
        if known is None:
            known = self._children[node] = _Children(node)
        return known


class _Children:
    """The children of a descriptor by the text before the first ``*`` of their final keys.

    Attributes:
        keys: their keys, each once.
    """

    def __init__(self, node: DescriptorNode) -> None:
        self.keys = tuple(dict.fromkeys(child.key for child in node.children.values()))
        self._bare = node.children
        self._sorted = sorted(
            ((final.partition(STAR)[0], child) for final, child in node.children.items()), key=itemgetter(0)
        )
        self._wildcards: dict[bytes, list[DescriptorNode]] = {}
        for final, child in node.wildcards or ():
            self._wildcards.setdefault(final.partition(STAR)[0], []).append(child)

    def matched(self, key: bytes) -> Iterator[DescriptorNode]:
        """Yield the children that an entry with this key and some value matches."""
        prefix = b"%b_" % key
        if key in self._bare:
            yield self._bare[key]
        for end in range(len(prefix)):
            yield from self._wildcards.get(prefix[:end], ())
        for at in range(bisect_left(self._sorted, prefix, key=itemgetter(0)), len(self._sorted)):
            head, child = self._sorted[at]
            if not head.startswith(prefix):
                break
            yield child


def _next(node: DescriptorNode, key: bytes, value: bytes) -> DescriptorNode | None:
    """Select as ``policy.match`` does."""
    text = b"%b_%b" % (key, value)
    found = node.children.get(text)
    if found is None and node.wildcards is not None:
        found = node.wildcards.find(text)
    return node.children.get(key) if found is None else found
