"""The identity of a limit over reloads, under which is kept what requests have told about it."""

from ratelimitd.policy import Limit, Policy, is_override, node_at, rule_name

from .rules import NodeRules

Place = tuple[bytes, bytes, str, str, int]
"""Domain, place in the tree, name, algorithm and window."""


def place(domain: bytes, found: NodeRules, limit: Limit) -> Place:
    """Return the identity of a limit; one for all overrides of a domain, since a caller names their keys and units."""
    rate = limit.rate
    if found.overridden or rate is None:
        return domain, found.place, "", "", 0
    return domain, found.place, limit.item, rate.algorithm, rate.window


def limit_at(policy: Policy, at: Place) -> Limit | None:
    """Return the limit of a policy that has this identity, or None; one without a rate stands for overrides."""
    name, path, item, algorithm, window = at
    domain = policy.domains.get(name)
    if domain is None:
        return None
    if is_override(path):
        return Limit(None, charge=domain.default_charge)
    node = node_at(domain, path)
    for limit in () if node is None else node.limits:
        rate = limit.rate
        if rate is not None and limit.item == item and (rate.algorithm, rate.window) == (algorithm, window):
            return limit
    return None


def name_of_limit(domain: bytes, found: NodeRules, limit: Limit) -> str:
    """Return the name of a limit in logs and on pages."""
    if found.overridden:
        return rule_name(domain, b"") + " (overrides)"
    return rule_name(domain, found.path) + (f".limit_{limit.item}" if limit.item else "")
