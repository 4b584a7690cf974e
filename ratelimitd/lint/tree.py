"""The descriptors of a policy as a tree with the place of each, and the faults of the tree alone."""

from collections.abc import Collection
from typing import Final, NamedTuple

from ratelimitd.algorithms import SECOND, deviation, is_meter
from ratelimitd.policy import (
    SHARE_THRESHOLD,
    STAR,
    Charging,
    DescriptorNode,
    DomainRow,
    Identity,
    KeysRow,
    Limit,
    NodeRow,
)
from ratelimitd.policy_file import Origin, Parsed

from .rules import Findings, finding, shown


class Branch(NamedTuple):
    """A descriptor, or the root of a domain, in the order of the files."""

    node: DescriptorNode
    parent: DescriptorNode
    place: Origin


class DomainTree(NamedTuple):
    """One domain.

    Attributes:
        branches: every descriptor, each after its parent.
        identity: without its tiers, which are in ``tiers``.
        tiers: tiers that have API keys.
        shadowed: descriptors that no request with their key reaches, each with the wildcard that takes its values. One
            without a value may still be reached by an entry whose key and value are together its key.
        default_charge: that of its limits.
    """

    name: bytes
    place: Origin
    root: DescriptorNode
    branches: list[Branch]
    identity: Identity | None
    tiers: set[bytes]
    shadowed: dict[DescriptorNode, DescriptorNode]
    default_charge: Charging

    @property
    def limits(self) -> int:
        """Number of limits."""
        return sum(len(branch.node.limits) for branch in self.branches)


def trees(parsed: Parsed) -> dict[bytes, DomainTree]:
    """Make the tree of each domain."""
    found: dict[bytes, DomainTree] = {}
    nodes: list[DescriptorNode] = []
    domains: list[DomainTree] = []
    for row, place in zip(parsed.rows, parsed.origins, strict=False):
        if isinstance(row, DomainRow):
            node = DescriptorNode()
            tree = found[row.name] = DomainTree(row.name, place, node, [], row.identity, set(), {}, row.default_charge)
        elif isinstance(row, NodeRow):
            shared = bool(row.flags & SHARE_THRESHOLD)
            node = DescriptorNode(row.key, row.value, row.limits, share_threshold=shared)
            parent, tree = nodes[row.parent], domains[row.parent]
            _grow(tree, parent, node)
            tree.branches.append(Branch(node, parent, place))
        nodes.append(node)
        domains.append(tree)
    for row in parsed.rows[len(nodes) :]:
        if isinstance(row, KeysRow):
            found[row.domain].tiers.add(row.tier)
    for tree in found.values():
        _shadow_the_rest(tree)
    return found


def _grow(tree: DomainTree, parent: DescriptorNode, node: DescriptorNode) -> None:
    """Add a descriptor. A wildcard is matched as text: what matches its stars matches any text in their place."""
    if STAR in node.final_key and parent.wildcards is not None:
        earlier = parent.wildcards.find(node.final_key)
        if earlier is not None:
            tree.shadowed[node] = earlier
    parent.add_child(node)


def _shadow_the_rest(tree: DomainTree) -> None:
    """Shadow descriptors without a value whose values a wildcard takes, and all below a shadowed descriptor."""
    for node, parent, _ in tree.branches:
        if parent in tree.shadowed:
            tree.shadowed[node] = tree.shadowed[parent]
        elif not node.value and STAR not in node.key and parent.wildcards is not None:
            wildcard = parent.wildcards.find(b"%b_%b" % (node.key, STAR))
            if wildcard is not None:
                tree.shadowed[node] = wildcard


def general(parent: DescriptorNode, node: DescriptorNode) -> DescriptorNode | None:
    """Return the descriptor that would match the value of this one if it did not exist."""
    if not node.value:
        return None
    found = None
    if STAR not in node.final_key and parent.wildcards is not None:
        found = parent.wildcards.find(node.final_key)
    return found or parent.children.get(node.key)


def check_tree(tree: DomainTree) -> Findings:
    """Find the faults of one domain, without regard to its requests."""
    lines = {branch.node: branch.place.line for branch in tree.branches}
    names = {limit.name for branch in tree.branches for limit in branch.node.limits}
    limits = tree.limits
    if not limits:
        yield finding("no-limits", tree.place, domain=shown(tree.name))
    for node, parent, place in tree.branches:
        descriptor = shown(node.final_key)
        if node in tree.shadowed:
            if parent not in tree.shadowed:
                wildcard = tree.shadowed[node]
                yield finding(
                    "shadowed-by-wildcard",
                    place,
                    descriptor=descriptor,
                    wildcard=shown(wildcard.final_key),
                    line=lines[wildcard],
                )
            continue
        if limits and not node.limits and not node.children and general(parent, node) is None:
            yield finding("descriptor-without-limit", place, descriptor=descriptor)
        for name in sorted({name for limit in node.limits for name in limit.replaces} - names):
            yield finding("unknown-replaces", place, name=name, domain=shown(tree.name))
        for limit in node.limits:
            if limit.rate is not None and refills(limit):
                days = limit.rate.window // DAY
                key = _says_after(limit, tree.default_charge)
                yield finding("budget-refills", place, key=key, algorithm=limit.rate.algorithm, days=days)
        for off in {deviation(limit.rate) for limit in node.limits if limit.rate is not None} - {0.0}:
            yield finding("rate-rounded", place, off=off)


DAY: Final = 86_400 * SECOND
"""µs: a budget of a bucket that lasts longer is meant to end, and a bucket has no end."""


def refills(limit: Limit) -> bool:
    """Whether costs that are reported are charged to a bucket that lasts longer than a day."""
    rate = limit.rate
    if rate is None or limit.charge is not Charging.AFTER:
        return False
    return is_meter(rate) and rate.window > DAY


def _says_after(limit: Limit, default_charge: Charging) -> str:
    """Return the key by which the costs of a limit come afterwards."""
    if limit.reserve is not None:
        return "'reserve'"
    return "'default_charge: after'" if default_charge is Charging.AFTER else "'charge: after'"


def taken_values(tree: DomainTree, reached: Collection[DescriptorNode] | None) -> Findings:
    """Find values that a descriptor takes from a limit of a more general one, and does not limit.

    A descriptor that has neither limits nor descriptors below it is an exemption, and meant. ``reached``: the
    descriptors at which requests may end, if that is known.
    """
    lines = {branch.node: branch.place.line for branch in tree.branches}
    for node, parent, place in tree.branches:
        if node.limits or not node.children or node in tree.shadowed or (reached is not None and node not in reached):
            continue
        other = general(parent, node)
        if other is not None and other.limits:
            yield finding(
                "taken-by-value",
                place,
                descriptor=shown(node.final_key),
                other=shown(other.final_key),
                line=lines[other],
            )


def check_tiers(tree: DomainTree) -> Findings:
    """Find tiers without a limit, limits without a tier, and descriptors of which no request has both keys."""
    identity = tree.identity
    if identity is None:
        return
    if not tree.tiers:
        yield finding("no-api-keys", tree.place)
    values = {branch.node.value for branch in tree.branches if branch.node.key == identity.key}
    without = set() if any(not value or STAR in value for value in values) else tree.tiers - values
    if without:
        yield finding(
            "tier-without-limit", tree.place, count=len(without), all=len(tree.tiers), key=shown(identity.key)
        )
    for node, _, place in tree.branches:
        if of_unknown_tier(tree, node):
            yield finding("unknown-tier", place, tier=shown(node.value), descriptor=shown(node.final_key))
    yield from _never_both(tree, identity)


def of_unknown_tier(tree: DomainTree, node: DescriptorNode) -> bool:
    """Whether a descriptor is for a tier without an API key, in a domain that has keys."""
    if tree.identity is None or node.key != tree.identity.key or not tree.tiers:
        return False
    return bool(node.value) and STAR not in node.value and node.value not in tree.tiers


def _never_both(tree: DomainTree, identity: Identity) -> Findings:
    pair = {identity.key, identity.otherwise}
    above: dict[DescriptorNode, bytes] = {}
    """The key of the pair at or above each descriptor that has one."""
    for node, parent, place in tree.branches:
        one = above.get(parent)
        if node.key in pair:
            if one is not None and one != node.key:
                yield finding(
                    "never-both",
                    place,
                    descriptor=shown(node.final_key),
                    key=shown(identity.key),
                    otherwise=shown(identity.otherwise),
                )
                continue
            one = node.key
        if one is not None:
            above[node] = one
