"""How a descriptor of a request finds its limits."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from ratelimitd.algorithms import SECOND, Rate, RateError, make_rate

from .model import UNIT_SECONDS, UPSTREAM_ALGORITHM, Descriptor, Domain, Entry, Limit, Match, Node, Unit

OVERRIDE_RATES: Final = 4_096
"""Override rates that are remembered: a mesh has few tiers, and making one anew costs some µs."""

OVERRIDE_INSTEAD: Final = "sliding_window_counter"
"""What enforces an override that the domain's algorithm cannot hold (sliding_window above 10,000)."""

_NEEDS_CARE: Final = re.compile(r"[:|]|[0-9]\.[0-9]")
_IPV4: Final = re.compile(r"(?<![0-9])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9])")


def match(domain: Domain, descriptor: Descriptor) -> Match | None:
    """Walk the entries from the root of the domain; None when no limit applies.

    At each level: the child ``key_value``, else the first wildcard in the order of the file, else the child
    ``key``. Nothing is tried twice, and only the node where the entries end counts. An override the request
    brings goes before all that, unless its unit is UNKNOWN: then it is no limit at all, and the tree decides.
    """
    entries = descriptor.entries
    if descriptor.override is not None and entries:
        overridden = _overridden(domain, entries, *descriptor.override)
        if overridden is not None:
            return overridden
    node = domain.root
    path: list[Node] = []
    for key, value in entries:
        children = node.children
        text = b"%b_%b" % (key, value)
        found = children.get(text)
        if found is None and node.wildcards is not None:
            found = node.wildcards.find(text)
        if found is None:
            found = children.get(key)
            if found is None:
                return None
        path.append(found)
        node = found
    if not node.limits:
        return None
    stat_key, from_request = node.stat_key, False
    if stat_key is None:
        stat_key, from_request = _stat_key(domain, entries, path)
    if node.place is None:
        node.place = _place([each.final_key for each in path])
    return Match(node.limits, _identity(entries, path), stat_key, from_request, node.metadata, node.place)


def _place(names: Iterable[bytes]) -> bytes:
    return b"".join([b"%d:%b" % (len(name), name) for name in names])


def _identity(entries: tuple[Entry, ...], path: list[Node]) -> tuple[Entry, ...]:
    for node in path:
        if node.share_threshold:
            break
    else:
        return entries
    return tuple(
        (node.key, node.value) if node.share_threshold else entry for entry, node in zip(entries, path, strict=True)
    )


def _stat_key(domain: Domain, entries: tuple[Entry, ...], path: list[Node]) -> tuple[tuple[str, ...], bool]:
    """Name the limit for the metrics; also whether a value of the request is part of the name."""
    parts = [_part(domain.name)]
    detailed = path[-1].detailed_metric
    fixed, from_request = not detailed, False
    for (key, value), node in zip(entries, path, strict=True):
        part = node.final_key
        fixed = fixed and not node.value_to_metric
        if (detailed or node.value_to_metric) and not node.share_threshold:
            text = b"%b_%b" % (key, value) if value or detailed else key
            from_request = from_request or text != part
            part = text
        parts.append(_part(part))
    stat_key = tuple(parts)
    if fixed:
        path[-1].stat_key = stat_key
    return stat_key, from_request


def _part(text: bytes) -> str:
    """Make a part of a metric's name: ``:`` and ``|`` end names in statsd, dots of an IPv4 address split them."""
    part = text.decode(errors="replace")
    if _NEEDS_CARE.search(part) is None:
        return part
    part = part.replace(":", "_").replace("|", "_")
    return _IPV4.sub(lambda address: address[0].replace(".", "_"), part)


def _overridden(domain: Domain, entries: tuple[Entry, ...], quota: int, unit: Unit) -> Match | None:
    if unit not in UNIT_SECONDS:
        return None
    rate = _override_rate(domain.default_algorithm, quota, UNIT_SECONDS[unit] * SECOND)
    limit = Limit(rate, quota, unit, upstream=rate.algorithm == UPSTREAM_ALGORITHM)
    parts = (domain.name, *(b"%b_%b" % entry if entry[1] else entry[0] for entry in entries))
    # A node's place begins with a digit or is empty.
    place = b"=" + _place([key for key, _ in entries])
    return Match((limit,), entries, tuple(map(_part, parts)), stat_from_request=True, metadata=None, place=place)


@lru_cache(maxsize=OVERRIDE_RATES)
def _override_rate(algorithm: str, quota: int, window: int) -> Rate:
    try:
        return make_rate(algorithm, quota, window)
    except RateError:
        return make_rate(OVERRIDE_INSTEAD, quota, window)
