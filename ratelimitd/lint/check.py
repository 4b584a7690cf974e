"""All rules over all files of a policy."""

from collections.abc import Mapping
from itertools import chain

from ratelimitd.config.problems import PolicyError
from ratelimitd.config.yaml_nodes import load_yaml
from ratelimitd.policy import FixedWindowKeys
from ratelimitd.policy_file import Document, Overlay, Parsed

from .comments import Comments
from .keys import impossible_addresses, misspelled_keys
from .overlay import check_overlay
from .pairs import check_pair, check_routes, ends
from .queues import idle_queues
from .requests import Requests
from .routes import GatewayText, read_routes
from .rules import Findings
from .shared import AUTO, check_counters, in_one
from .tree import DomainTree, check_tiers, check_tree, taken_values, trees
from .written import check_maps, repeated_keys, second_documents


def lint(
    parsed: Parsed,
    texts: Mapping[str, bytes],
    gateway: str = "",
    fixed_window_keys: FixedWindowKeys = FixedWindowKeys.UPSTREAM,
    overlay: Overlay | None = None,
) -> list[PolicyError]:
    """Return what is wrong in files without an error, in the order of the files and their lines.

    Args:
        texts: the files, with the names that ``parsed`` has.
        gateway: the gateway file among them; empty: none, so that it is not known what is sent.
        fixed_window_keys: FIXED_WINDOW_KEYS; SAFE also for counters in memory.
        overlay: the overlay that the policy was parsed with.
    """
    if overlay is not None:
        texts = {**texts, overlay.file: overlay.text}
    comments = Comments(texts)
    order = {file: number for number, file in enumerate(texts)}
    domains = trees(parsed)
    found = chain(
        comments.wrong(),
        second_documents(texts),
        _written(parsed, gateway),
        _meant(domains, texts, gateway),
        check_counters(domains, fixed_window_keys),
        () if overlay is None else check_overlay(overlay, parsed.effects),
    )
    allowed = dict.fromkeys(each.warning for each in found if comments.allow(each))
    return sorted(allowed, key=lambda warning: (order.get(warning.file, -1), warning.line))


def lint_pushed(
    parsed: Parsed, server: str, fixed_window_keys: FixedWindowKeys, overlay: Overlay | None = None
) -> list[PolicyError]:
    """Return what an operator can change about a policy that a control plane writes: keys in Redis, and the overlay."""
    found = [each.warning for each in check_counters(trees(parsed), fixed_window_keys)]
    own = [] if overlay is None else lint(Parsed([], [], parsed.summary, effects=parsed.effects), {}, overlay=overlay)
    return in_one([*found, *own], server, AUTO)


def _written(parsed: Parsed, gateway: str) -> Findings:
    for document in parsed.documents:
        yield from check_maps(document)
        if document.file != gateway:
            yield from repeated_keys(document)


def _meant(found: Mapping[bytes, DomainTree], texts: Mapping[str, bytes], gateway: str) -> Findings:
    for tree in found.values():
        yield from check_tree(tree)
        yield from check_tiers(tree)
        yield from impossible_addresses(tree)
        yield from idle_queues(tree, proxied=bool(gateway))
    root = load_yaml(texts[gateway]) if gateway else None
    if root is not None:
        yield from repeated_keys(Document(gateway, root))
    routes = read_routes(root) if gateway else None
    if routes is not None:
        yield from check_routes(routes, gateway)
    domain = None if routes is None else _domain(routes, found)
    for tree in found.values():
        if routes is None or tree is not domain:
            yield from taken_values(tree, None)
            yield from misspelled_keys(tree)
        elif tree.limits:
            requests = Requests(tree)
            reached = ends(routes, requests)
            yield from check_pair(routes, gateway, requests, reached)
            yield from taken_values(tree, reached)


def _domain(routes: GatewayText, found: Mapping[bytes, DomainTree]) -> DomainTree | None:
    """Return the domain of the routes, as ``gateway.domain_of`` does."""
    if routes.domain:
        return found.get(routes.domain)
    return next(iter(found.values())) if len(found) == 1 else None
