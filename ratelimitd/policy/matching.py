"""Matches a descriptor of a request to its limits."""

from functools import lru_cache
from typing import Final

from ratelimitd.algorithms import SECOND, WINDOW_MAX, Rate, RateError, make_rate

from .model import (
    UNIT_SECONDS,
    UPSTREAM_ALGORITHM,
    Descriptor,
    DescriptorNode,
    Domain,
    Entry,
    Limit,
    Match,
    Override,
    Unit,
)
from .paths import OVERRIDE, metric_part, names_of, path_of

OVERRIDE_RATES: Final = 4_096
"""Cached override rates: a mesh has few tiers, and making a rate costs some µs."""

OVERRIDE_INSTEAD: Final = "sliding_window_counter"
"""Algorithm for an override that the domain's algorithm does not support (sliding_window above 10,000)."""

MULTIPLIERS_MOST: Final = {unit: WINDOW_MAX // (seconds * SECOND) for unit, seconds in UNIT_SECONDS.items()}
"""The largest ``unit_multiplier`` of an override, by its unit: that of the longest window, 71 years. A larger one
counts as this one: an error would let the request pass."""


def match(domain: Domain, descriptor: Descriptor) -> Match | None:
    """Walk the entries from the root of the domain; return None if no limit applies.

    At each level: the child ``key_value``, else the first matching wildcard in the order of the file, else the child
    ``key``. There is no backtracking, and only the node where the entries end applies. An override in the request
    takes precedence, unless its unit is UNKNOWN: such an override is not a limit, and the tree decides.
    """
    entries = descriptor.entries
    if descriptor.override is not None:
        overridden = _overridden(domain, entries, descriptor.override)
        if overridden is not None:
            return overridden
    node = domain.root
    path: list[DescriptorNode] = []
    for entry in entries:
        child = child_of(node, entry)
        if child is None:
            return None
        path.append(child)
        node = child
    if not node.limits:
        return None
    stat_key, from_request = node.stat_key, False
    if stat_key is None:
        stat_key, from_request = _stat_key(domain, entries, path)
    if node.path is None:
        node.path = path_of([each.final_key for each in path])
    return Match(node.limits, _pins(path), stat_key, from_request, node.metadata, node.path)


def find(domain: Domain, entries: tuple[Entry, ...]) -> DescriptorNode | None:
    """Return the node where entries end, as ``match`` walks; None if it has no limits."""
    node = domain.root
    for entry in entries:
        child = child_of(node, entry)
        if child is None:
            return None
        node = child
    return node if node.limits else None


def node_at(domain: Domain, path: bytes) -> DescriptorNode | None:
    """Return the node that has this path, see ``Match.path``."""
    node = domain.root
    for name in names_of(path):
        child = node.children.get(name)
        if child is None:
            return None
        node = child
    return node


def child_of(node: DescriptorNode, entry: Entry) -> DescriptorNode | None:
    """Return the child that an entry leads to."""
    key, value = entry
    child: DescriptorNode | None = None
    if node.named or node.wildcards is not None:
        text = b"%b_%b" % (key, value)
        child = node.children.get(text)
        if child is None and node.wildcards is not None:
            child = node.wildcards.find(text)
    return node.children.get(key) if child is None else child


def pinned(pins: tuple[Entry | None, ...], entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries that identify a counter: the pins of its match, and the request's entries at other levels."""
    if not pins:
        return entries
    return tuple([entry if pin is None else pin for entry, pin in zip(entries, pins, strict=True)])


def _pins(path: list[DescriptorNode]) -> tuple[Entry | None, ...]:
    if not any(node.share_threshold for node in path):
        return ()
    return tuple([(node.key, node.value) if node.share_threshold else None for node in path])


def _stat_key(domain: Domain, entries: tuple[Entry, ...], path: list[DescriptorNode]) -> tuple[tuple[str, ...], bool]:
    """Return the limit's name in metrics, and whether a value of the request is part of it."""
    parts = [metric_part(domain.name)]
    detailed = path[-1].detailed_metric
    fixed, from_request = not detailed, False
    for (key, value), node in zip(entries, path, strict=True):
        part = node.final_key
        fixed = fixed and not node.value_to_metric
        if (detailed or node.value_to_metric) and not node.share_threshold:
            text = b"%b_%b" % (key, value) if value or detailed else key
            from_request = from_request or text != part
            part = text
        parts.append(metric_part(part))
    stat_key = tuple(parts)
    if fixed:
        path[-1].stat_key = stat_key
    return stat_key, from_request


def in_one_unit(rate: Rate) -> tuple[Unit, Rate]:
    """Return the shortest unit that is as long as the window of an override, at most a year, and the rate with that."""
    unit = next((unit for unit, seconds in UNIT_SECONDS.items() if seconds * SECOND >= rate.window), Unit.YEAR)
    return unit, _override_rate(rate.algorithm, rate.quota, UNIT_SECONDS[unit] * SECOND)


def _overridden(domain: Domain, entries: tuple[Entry, ...], override: Override) -> Match | None:
    quota, unit = override.requests_per_unit, override.unit
    if unit not in UNIT_SECONDS:
        return None
    multiplier = min(override.unit_multiplier, MULTIPLIERS_MOST[unit])
    rate = _override_rate(domain.default_algorithm, quota, UNIT_SECONDS[unit] * multiplier * SECOND)
    # envoyproxy/ratelimit names a counter by the start of its window alone, so only windows of one unit have its names.
    upstream = multiplier == 1 and domain.upstream_overrides and rate.algorithm == UPSTREAM_ALGORITHM
    limit = Limit(rate, quota, unit, multiplier, upstream=upstream, charge=domain.default_charge)
    parts = (domain.name, *(b"%b_%b" % entry if entry[1] else entry[0] for entry in entries))
    path = OVERRIDE + path_of([key for key, _ in entries])
    return Match((limit,), (), tuple(map(metric_part, parts)), stat_from_request=True, metadata=None, path=path)


@lru_cache(maxsize=OVERRIDE_RATES)
def _override_rate(algorithm: str, quota: int, window: int) -> Rate:
    try:
        return make_rate(algorithm, quota, window)
    except RateError:
        return make_rate(OVERRIDE_INSTEAD, quota, window)
