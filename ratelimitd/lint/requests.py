"""Where the descriptors of a route's requests end in a tree, for all values that a request may have."""

from collections.abc import Iterator, Sequence
from itertools import chain, combinations
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
        self._any: dict[tuple[DescriptorNode, bytes], frozenset[DescriptorNode]] = {}

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
            return frozenset(chain.from_iterable(self._any_value(node, key) for node in nodes))
        values = (value,) if isinstance(value, bytes) else value
        found = (_next(node, key, each) for node in nodes for each in values)
        return frozenset(node for node in found if node is not None)

    def _any_value(self, node: DescriptorNode, key: bytes) -> frozenset[DescriptorNode]:
        known = self._any.get((node, key))
        if known is None:
            prefix = b"%b_" % key
            children = node.children.items()
            known = frozenset(child for final, child in children if final == key or _may_match(final, prefix))
            known = self._any[node, key] = known - self.tree.shadowed.keys()
        return known


def _next(node: DescriptorNode, key: bytes, value: bytes) -> DescriptorNode | None:
    """Select as ``policy.match`` does."""
    text = b"%b_%b" % (key, value)
    found = node.children.get(text)
    if found is None and node.wildcards is not None:
        found = node.wildcards.find(text)
    return node.children.get(key) if found is None else found


def _may_match(final: bytes, prefix: bytes) -> bool:
    """Whether a text with this prefix may match the key and value of a descriptor."""
    head, star, _ = final.partition(STAR)
    return head.startswith(prefix) or (bool(star) and prefix.startswith(head))
