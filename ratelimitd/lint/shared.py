"""Limits whose counters in Redis can have one name, as envoyproxy/ratelimit names them."""

from collections.abc import Mapping, Sequence
from typing import Final

from ratelimitd.config.problems import PolicyError
from ratelimitd.policy import (
    UPSTREAM_ALGORITHM,
    DescriptorNode,
    Domain,
    FixedWindowKeys,
    domains_that_share,
    shared_counters,
)

from .rules import Findings, finding, shown
from .tree import DomainTree

RULE: Final = "shared-counter"

NAMED_MAX: Final = 10
"""Limits named in the one warning of a load: a line that can be read; ``ratelimitd validate`` lists all."""

NAME_MAX: Final = 100
"""Characters of each of these names; a path of ten levels has as many."""

AUTO: Final = "set FIXED_WINDOW_KEYS=auto, unless envoyproxy/ratelimit counts in the same Redis"
RENAME: Final = "rename one of the domains, or set FIXED_WINDOW_KEYS=safe"
MORE: Final = "`ratelimitd validate` lists each, with what to change (docs/lint.md)"

_SEPARATOR: Final = " can share a counter "
"""Ends the limit's name in the message of the rule."""


def check_counters(trees: Mapping[bytes, DomainTree], keys: FixedWindowKeys) -> Findings:
    """Find limits with upstream's names that can share a counter in Redis; with AUTO, those of several domains."""
    if keys is FixedWindowKeys.SAFE:
        return
    domains = {name: _domain(tree) for name, tree in trees.items()}
    if keys is FixedWindowKeys.UPSTREAM:
        for name, tree in trees.items():
            yield from _of_domain(tree, domains[name])
    for one, other in domains_that_share(domains):
        what = f"'{shown(other)}' (the domain)"
        yield finding(RULE, trees[other].place, what=what, other=f"domain '{shown(one)}'", remedy=RENAME)


def in_one(warnings: Sequence[PolicyError], file: str, remedy: str = MORE) -> list[PolicyError]:
    """Return warnings with those of this rule as one of the file, which names the first limits."""
    others = [warning for warning in warnings if warning.rule != RULE]
    names = [_cut(warning.message.partition(_SEPARATOR)[0]) for warning in warnings if warning.rule == RULE]
    if not names:
        return others
    named = ", ".join(names[:NAMED_MAX]) + (f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else "")
    limits = "1 limit" if len(names) == 1 else f"{len(names)} limits"
    return [*others, PolicyError(file, 0, f"{limits} can share a counter in Redis: {named}", RULE, remedy)]


def _cut(name: str) -> str:
    return name if len(name) <= NAME_MAX else f"{name[:NAME_MAX]}…"


def _domain(tree: DomainTree) -> Domain:
    return Domain(tree.name, tree.root, UPSTREAM_ALGORITHM, all_or_nothing=False, identity=tree.identity)


def _of_domain(tree: DomainTree, domain: Domain) -> Findings:
    shared = shared_counters(domain, tree.shadowed)
    if not shared:
        return
    names: dict[DescriptorNode, str] = {tree.root: shown(tree.name)}
    lines: dict[DescriptorNode, int] = {}
    for node, parent, place in tree.branches:
        names[node] = f"{names[parent]}.{shown(node.final_key)}"
        lines[node] = place.line
    for node, _, place in tree.branches:
        other = shared.get(node)
        if other is node:
            yield finding(RULE, place, what=f"'{names[node]}'", other="itself, for other values", remedy=AUTO)
        elif other is not None:
            where = f"'{names[other]}' of line {lines[other]}"
            yield finding(RULE, place, what=f"'{names[node]}'", other=where, remedy=AUTO)
