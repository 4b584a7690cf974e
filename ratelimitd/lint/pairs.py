"""Routes and policy together: what a route sends and no limit matches, and the reverse; callers without a limit."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Final

from ratelimitd.algorithms import KEYED_BY_WINDOW, Rate
from ratelimitd.policy import Charging, DescriptorNode, Limit, is_concurrent
from ratelimitd.policy_file import Origin

from .requests import NOTHING, Form, Requests
from .routes import Conditions, GatewayText, Item, Route, sent, wider
from .rules import Findings, finding, shown
from .tree import DomainTree, of_unknown_tier

HINTS: Final = 3
"""Keys of the policy that a message names."""


def unreachable_routes(gateway: GatewayText) -> dict[int, int]:
    """Return the number of each route that no request reaches, with that of an earlier one that takes its requests."""
    first: dict[Conditions, int] = {}
    found: dict[int, int] = {}
    for number, route in enumerate(gateway.routes):
        earlier = [first[each] for each in wider(route.match) if each in first]
        if earlier:
            found[number] = min(earlier)
        first.setdefault(route.match, number)
    return found


def check_routes(gateway: GatewayText, file: str) -> Findings:
    """Find routes and upstreams without a request."""
    for number, other in unreachable_routes(gateway).items():
        route, line = gateway.routes[number], gateway.routes[other].line
        yield finding("unreachable-route", Origin(file, route.line), route=route.name, line=line)
    used = {route.upstream for route in gateway.routes}
    for upstream, line in gateway.upstreams.items():
        if upstream not in used:
            yield finding("unused-upstream", Origin(file, line), upstream=upstream)
    for upstream, line in gateway.unverified.items():
        yield finding("unverified-upstream", Origin(file, line), upstream=upstream)


def check_pair(gateway: GatewayText, file: str, requests: Requests, reached: set[DescriptorNode] | None) -> Findings:
    """Find what the routes send and the policy does not limit, and the reverse. ``reached``: see ``ends``."""
    unreachable = unreachable_routes(gateway)
    for number, route in enumerate(gateway.routes):
        if number not in unreachable:
            yield from _unmatched(route, file, requests)
            yield from _callers(route, file, requests)
            yield from _costly(route, file, requests)
            yield from _freeing(route, file, requests)
            yield from _forgotten(route, file, requests)
    if reached is not None:
        yield from _never_sent(requests.tree, reached)


def ends(gateway: GatewayText, requests: Requests) -> set[DescriptorNode] | None:
    """Return all descriptors at which a request of a route may end; None if only Envoy knows some entries."""
    unreachable = unreachable_routes(gateway)
    found: set[DescriptorNode] = set()
    for number, route in enumerate(gateway.routes):
        for item in route.items if number not in unreachable else ():
            if item.entries is None:
                return None
            for form in requests.all_forms(item):
                found |= requests.ends(form)
    return found


def _unmatched(route: Route, file: str, requests: Requests) -> Findings:
    for item in route.items:
        if item.entries is None or item.own_limit or any(map(requests.limited, requests.all_forms(item))):
            continue
        yield finding(
            "no-limit-matches",
            Origin(file, item.line),
            route=route.name,
            sent=sent(item.entries),
            hint=_hint(requests, next(requests.forms(item), ())),
            domain=shown(requests.tree.name),
        )


def _costly(route: Route, file: str, requests: Requests) -> Findings:
    """Find items that ask for more hits than a limit ever admits. A limit of 0 is meant to deny."""
    for item in route.items:
        if item.entries is None or item.own_limit or item.reports or item.leased or item.hits == 1:
            continue
        nodes = _ends(item, requests)
        rates = [(rate.burst, node.final_key, rate) for node in nodes for rate in _binding(node)]
        most, final_key, rate = min(rates, default=(item.hits, b"", None))
        if rate is not None and most < item.hits:
            yield finding(
                "cost-above-limit",
                Origin(file, item.line),
                route=route.name,
                sent=sent(item.entries),
                hits=item.hits,
                descriptor=shown(final_key),
                most=most,
                what="limit" if most == rate.quota else "burst",
            )


def _freeing(route: Route, file: str, requests: Requests) -> Findings:
    """Find items that are meant to ask for a place of ``concurrent``, and have hits as a report has them."""
    for item in route.items:
        if item.own_limit or item.reports or item.leased or item.hits < 2:
            continue
        freed = _keys(_ends(item, requests), is_concurrent)
        if freed:
            yield finding(
                "cost-frees-a-place",
                Origin(file, item.line),
                route=route.name,
                sent=sent(item.entries or ()),
                hits=item.hits,
                descriptor=shown(freed[0]),
            )


def _forgotten(route: Route, file: str, requests: Requests) -> Findings:
    """Find costs that are reported to limits that may refuse and forget them."""
    asked = {node for item in route.items if item.hits == 0 and not item.reports for node in _ends(item, requests)}
    for item in route.items:
        if not item.reports or item.own_limit or item.leased:
            continue
        unsaid = _keys(_ends(item, requests) - asked, _forgets)
        if unsaid:
            yield finding(
                "cost-without-charge",
                Origin(file, item.line),
                route=route.name,
                sent=sent(item.entries or ()),
                what=", ".join(f"'{shown(final_key)}'" for final_key in unsaid[:HINTS]),
                domain=shown(requests.tree.name),
            )


def _keys(nodes: Collection[DescriptorNode], chosen: Callable[[Limit], bool]) -> list[bytes]:
    """Return the keys of descriptors that have such a limit, in order."""
    return sorted({node.final_key for node in nodes if any(map(chosen, node.limits))})


def _ends(item: Item, requests: Requests) -> set[DescriptorNode]:
    """Return the descriptors at which an item may end; none if only Envoy knows its entries."""
    if item.entries is None:
        return set()
    return {node for form in requests.all_forms(item) for node in requests.ends(form)}


def _forgets(limit: Limit) -> bool:
    """Whether a limit that is not asked with 0 forgets costs that it refuses."""
    rate = limit.rate
    counts_all = rate is not None and rate.algorithm in KEYED_BY_WINDOW and rate.count_rejected
    return rate is not None and limit.charge is Charging.UNSAID and not counts_all


def _binding(node: DescriptorNode) -> Iterator[Rate]:
    """Yield the rates of a descriptor that can deny and are not meant to deny everything.

    Hits above 0 ask no place of a limit on requests in progress: they free one.
    """
    for limit in node.limits:
        rate = limit.rate
        if rate is not None and rate.quota and not is_concurrent(limit) and not limit.shadow_mode:
            yield rate


def _hint(requests: Requests, form: Form) -> str:
    """Say where in the tree a descriptor leaves it."""
    nodes = frozenset((requests.tree.root,))
    for key, value in form:
        following = requests.step(nodes, key, value)
        if not following:
            index = [requests.children(node) for node in nodes]
            same = (child.final_key for children in index for child in children.matched(key))
            others = (other for children in index for other in children.keys)
            found = list(islice(same, HINTS + 1)) or list(islice(others, HINTS + 1))
            more = ", ..." if len(found) > HINTS else ""
            there = ", ".join(f"'{shown(each)}'" for each in found[:HINTS]) or "nothing"
            wanted = f"'{shown(key)}_{shown(value)}'" if isinstance(value, bytes) else f"'{shown(key)}'"
            return f"; the policy has {there}{more} where {wanted} would be"
        nodes = following
    return "; it ends at a descriptor without a limit" if form else ""


def _callers(route: Route, file: str, requests: Requests) -> Findings:
    """Find callers that a route limits only if they send a header or parameter, which they need not."""
    names = _optional(route)
    everything = _limits(route, requests, NOTHING, known=True)
    place = Origin(file, route.line)
    if not everything:
        if names and any(_limits(route, requests, frozenset((name,)), known=None) for name in names):
            remedy = f"add a descriptor for {_matched(route)} to domain '{shown(requests.tree.name)}'"
            yield finding("callers-without-limit", place, which=f"with {_all(names)}", route=route.name, remedy=remedy)
        return
    whiches = [f"without {name}" for name in names if not _limits(route, requests, frozenset((name,)), known=None)]
    if not whiches and _by_key(route, requests) and not _limits(route, requests, NOTHING, known=False):
        whiches = ["with an unlisted API key"]
    if not whiches and len(names) > 1 and not _limits(route, requests, frozenset(names), known=None):
        whiches = [f"without {_all(names)}"]
    remedy = "add an item with {remote_address: {}} to the route, and a limit for remote_address to the policy"
    for which in whiches:
        yield finding("callers-without-limit", place, which=which, route=route.name, remedy=remedy)


def _limits(route: Route, requests: Requests, absent: frozenset[str], *, known: bool | None) -> bool:
    """Whether the route limits some requests of callers without these headers and parameters."""
    return any(_item_limits(item, requests, absent, known=known) for item in route.items)


def _item_limits(item: Item, requests: Requests, absent: frozenset[str], *, known: bool | None) -> bool:
    if item.entries is None:
        return True
    forms = requests.forms(item, absent, known=known)
    return any((item.own_limit and form) or requests.limited(form) for form in forms)


def _optional(route: Route) -> list[str]:
    """Return the headers and parameters that a request of this route need not have."""
    needs = (entry.needs for item in route.items for entry in item.entries or ())
    return [name for name in dict.fromkeys(needs) if name and name not in route.present]


def _by_key(route: Route, requests: Requests) -> bool:
    identity = requests.tree.identity
    return identity is not None and any(
        entry.key == identity.key for item in route.items for entry in item.entries or ()
    )


def _all(names: Sequence[str]) -> str:
    return " and ".join(names)


def _matched(route: Route) -> str:
    return next((str(item) for item in route.items if item.entries), "")


def _never_sent(tree: DomainTree, reached: set[DescriptorNode]) -> Findings:
    """Find limits at which no request ends; a descriptor with all below it is one finding."""
    limits, met = _limits_met(tree, reached)
    paths: dict[DescriptorNode, tuple[str, ...]] = {tree.root: ()}
    """Of the descriptors that are not part of a finding above them."""
    for node, parent, place in tree.branches:
        if node in tree.shadowed or parent not in paths or of_unknown_tier(tree, node):
            continue
        path = (*paths[parent], _entry(node))
        if node in met or node in reached:
            paths[node] = path
        count = len(node.limits) if node in met else limits[node]
        if count and node not in reached:
            yield finding(
                "limit-never-sent",
                place,
                descriptor=f"({', '.join(path)})",
                count="its limit" if count == 1 else f"its {count} limits",
            )


def _limits_met(tree: DomainTree, reached: set[DescriptorNode]) -> tuple[Counter[DescriptorNode], set[DescriptorNode]]:
    """Return how many limits are at or below each descriptor, and the descriptors where a request meets one of them."""
    limits: Counter[DescriptorNode] = Counter()
    met: set[DescriptorNode] = set()
    for node, parent, _ in reversed(tree.branches):
        if node not in tree.shadowed:
            limits[node] += len(node.limits)
            limits[parent] += limits[node]
            if (node.limits and node in reached) or node in met:
                met |= {node, parent}
    return limits, met


def _entry(node: DescriptorNode) -> str:
    return f"{shown(node.key)}={shown(node.value)}" if node.value else shown(node.key)
