"""What differs between two policies, in words: for ``ratelimitd diff``, the log and the admin API.

The comparison is a stream with an item for each descriptor, so that a service can spread it over many turns of its
event loop.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from ratelimitd.algorithms import SECOND
from ratelimitd.printable import printable

from .model import (
    Charging,
    Children,
    DescriptorNode,
    Domain,
    Identity,
    Limit,
    Policy,
    Queue,
    amount_in_words,
    is_concurrent,
)

_T = TypeVar("_T")

SHOWN_MAX: Final = 200
"""Characters of a place or value that are shown: enough to find it, short enough for a line of a log."""


class ChangeKind(StrEnum):
    """How a limit differs. A limit that admits more in the long run is raised."""

    ADDED = "added"
    REMOVED = "removed"
    RAISED = "raised"
    LOWERED = "lowered"
    CHANGED = "changed"
    RESTARTED = "restarted"
    """The key of its counter is another, so its count starts anew."""


class Change(NamedTuple):
    """One difference.

    Attributes:
        place: domain and descriptors, joined by dots as in /rlconfig; the name of one of several limits in brackets.
        what: the difference, or the properties of something added or removed.
    """

    kind: ChangeKind
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.place}: {self.what}"


Changes = Iterator[list[Change]]
_Pair = tuple[str, DescriptorNode | None, DescriptorNode | None]
"""A descriptor of both policies, or of one, with its place."""

_END: Final[_Pair] = ("", None, None)


LIMIT: Final[Mapping[str, Callable[[Limit], str]]] = {
    "algorithm": lambda limit: limit.rate.algorithm if limit.rate and not is_concurrent(limit) else "none",
    "charge": lambda limit: "none" if is_concurrent(limit) else _charge(limit.charge),
    "reserve": lambda limit: "none" if is_concurrent(limit) else _reserve(limit),
    "ttl": lambda limit: _ttl(limit) if is_concurrent(limit) else "none",
    "queue": lambda limit: _queued(limit.queue),
    "count_rejected": lambda limit: _yes(limit.rate is None or limit.rate.count_rejected),
    "shadow_mode": lambda limit: _yes(limit.shadow_mode),
    "quota_mode": lambda limit: _yes(limit.quota_mode),
    "on_store_failure": lambda limit: limit.on_store_failure.name.lower(),
    "name": lambda limit: printable(limit.name) or "none",
    "replaces": lambda limit: printable(", ".join(sorted(limit.replaces))) or "none",
}
"""Properties of a limit apart from its amount and burst."""

DESCRIPTOR: Final[Mapping[str, Callable[[DescriptorNode], str]]] = {
    "detailed_metric": lambda node: _yes(node.detailed_metric),
    "value_to_metric": lambda node: _yes(node.value_to_metric),
    "share_threshold": lambda node: _yes(node.share_threshold),
}

DOMAIN: Final[Mapping[str, Callable[[Domain], str]]] = {
    "default_algorithm": lambda domain: domain.default_algorithm,
    "default_charge": lambda domain: _charge(domain.default_charge),
    "all_or_nothing": lambda domain: _yes(domain.all_or_nothing),
}

IDENTITY: Final[Mapping[str, Callable[[Identity], str]]] = {
    "key of its identity": lambda identity: _shown(identity.key),
    "otherwise of its identity": lambda identity: _shown(identity.otherwise),
    "ipv6_prefix of its identity": lambda identity: str(identity.ipv6_prefix),
}

_PLAIN: Final = Limit(None)


def changes(old: Policy, new: Policy) -> Changes:
    """Yield the differences of each domain and descriptor, in the order of the new policy; often an empty list."""
    for name, domain in new.domains.items():
        yield from _domain(name, old.domains.get(name), domain)
    for name, domain in old.domains.items():
        if name not in new.domains:
            yield from _domain(name, domain, None)
        else:
            yield []


def _domain(name: bytes, old: Domain | None, new: Domain | None) -> Changes:
    place = _cut(_shown(name))
    if old is None or new is None:
        yield [Change(ChangeKind.ADDED if old is None else ChangeKind.REMOVED, place, "domain")]
    else:
        yield list(_differences(place, old, new, DOMAIN))
        yield from _identity(place, old.identity, new.identity)
        yield from _wildcards(place, old.root, new.root)
    steps = [_children(place, old and old.root, new and new.root)]
    while steps:
        pair = next(steps[-1], _END)
        if pair is _END:
            steps.pop()
            continue
        if pair is None:
            yield []
            continue
        place, before, after = pair
        yield list(_descriptor(place, before, after))
        if before is not None and after is not None:
            yield from _wildcards(place, before, after)
        steps.append(_children(place, before, after))


def _children(place: str, old: DescriptorNode | None, new: DescriptorNode | None) -> Iterator[_Pair | None]:
    """Yield the pairs of children to compare, and None for a child that is known to have no difference."""
    before: Children = old.children if old else {}
    after: Children = new.children if new else {}
    common = 0
    for key, node in after.items():
        other = before.get(key)
        common += other is not None
        same = other is not None and _same_leaf(other, node)
        yield None if same else (_cut(f"{place}.{_shown(key)}"), other, node)
    if common < len(before):
        for key, node in before.items():
            yield None if key in after else (_cut(f"{place}.{_shown(key)}"), node, None)


def _same_leaf(old: DescriptorNode, new: DescriptorNode) -> bool:
    """Whether two descriptors without children are equal; most are, so this comes before any words."""
    return (
        not (old.children or new.children)
        and old.limits == new.limits
        and old.metadata == new.metadata
        and all(read(old) == read(new) for read in DESCRIPTOR.values())
    )


def _descriptor(place: str, old: DescriptorNode | None, new: DescriptorNode | None) -> Iterator[Change]:
    either = new or old
    if old is None or new is None:
        if either is not None and not either.limits and not either.children:
            yield Change(ChangeKind.ADDED if old is None else ChangeKind.REMOVED, place, "descriptor without a limit")
    else:
        yield from _differences(place, old, new, DESCRIPTOR)
        if old.metadata != new.metadata:
            yield Change(ChangeKind.CHANGED, place, "metadata")
    before, after = old.limits if old else (), new.limits if new else ()
    if before != after:
        yield from _limits(place, {limit.item: limit for limit in before}, {limit.item: limit for limit in after})


def _limits(place: str, old: Mapping[str, Limit], new: Mapping[str, Limit]) -> Iterator[Change]:
    for item, limit in new.items():
        where = _item(place, item)
        before = old.get(item)
        if before is None:
            yield Change(ChangeKind.ADDED, where, _properties(limit))
        else:
            yield from _amount(where, before, limit)
            yield from _burst(where, before, limit)
            yield from _differences(where, before, limit, LIMIT)
            yield from _key(where, before, limit)
    for item, limit in old.items():
        if item not in new:
            yield Change(ChangeKind.REMOVED, _item(place, item), _properties(limit))


def _item(place: str, item: str) -> str:
    return f"{place} [{_cut(printable(item))}]" if item else place


def _amount(place: str, old: Limit, new: Limit) -> Iterator[Change]:
    before, after = _amount_of(old), _amount_of(new)
    if before != after:
        growth = _growth(old, new)
        same = not growth and is_concurrent(old) == is_concurrent(new)
        note = ", the same rate over another window" if same else ""
        yield Change(_direction(growth), place, f"{before} -> {after}{note}")


def _key(place: str, old: Limit, new: Limit) -> Iterator[Change]:
    """Name a limit whose key is no longer upstream's, or is now. Another algorithm or window needs no such line."""
    before, after = _key_of(old), _key_of(new)
    if before == after or old.rate is None or new.rate is None:
        return
    if (old.rate.algorithm, old.rate.window) != (new.rate.algorithm, new.rate.window):
        return
    yield Change(ChangeKind.RESTARTED, place, f"name of its counter: {before} -> {after}, so its count starts anew")


def _key_of(limit: Limit) -> str:
    if limit.upstream:
        return "as in envoyproxy/ratelimit"
    return "safe" if limit.reserve is None else "with holds"


def _growth(old: Limit, new: Limit) -> int:
    """Return a number with the sign of the difference of two rates; unlimited is more than any rate."""
    if old.rate is None or new.rate is None:
        return (new.rate is None) - (old.rate is None)
    if is_concurrent(old) != is_concurrent(new):
        return 0
    if is_concurrent(new):
        return new.rate.quota - old.rate.quota
    return new.rate.quota * old.rate.window - old.rate.quota * new.rate.window


def _burst(place: str, old: Limit, new: Limit) -> Iterator[Change]:
    """Compare bursts that are not simply the quota, which is their default."""
    if old.rate is None or new.rate is None:
        return
    before, after = (rate.burst if rate.burst != rate.quota else None for rate in (old.rate, new.rate))
    if before != after:
        kind = _direction(new.rate.burst - old.rate.burst)
        yield Change(kind, place, f"burst {old.rate.burst} -> {new.rate.burst}")


def _direction(growth: int) -> ChangeKind:
    if not growth:
        return ChangeKind.CHANGED
    return ChangeKind.RAISED if growth > 0 else ChangeKind.LOWERED


def _identity(place: str, old: Identity | None, new: Identity | None) -> Changes:
    """Compare the callers of a domain. API keys are counted, never shown, not even by their digest."""
    if old is None or new is None:
        if old is not new:
            yield [Change(ChangeKind.ADDED if old is None else ChangeKind.REMOVED, place, "identity")]
        return
    yield list(_differences(place, old, new, IDENTITY))
    added = moved = 0
    for digest, tier in new.tiers.items():
        before = old.tiers.get(digest)
        added += before is None
        moved += before is not None and before != tier
        yield []
    counts = {"added": added, "removed": len(old.tiers) - len(new.tiers) + added, "in another tier": moved}
    if any(counts.values()):
        counted = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        yield [Change(ChangeKind.CHANGED, place, f"API keys of its identity: {counted}")]


def _wildcards(place: str, old: DescriptorNode, new: DescriptorNode) -> Changes:
    """Compare the order of the wildcards that both have."""
    if old.wildcards is None or new.wildcards is None:
        return
    common = []
    for pattern, _ in old.wildcards:
        if pattern in new.children:
            common.append(pattern)
        yield []
    order = iter(common)
    for pattern, _ in new.wildcards:
        if pattern in old.children and next(order) != pattern:
            what = "order of its wildcards, of which the first that matches applies"
            yield [Change(ChangeKind.CHANGED, place, what)]
            return
        yield []


def _differences(place: str, old: _T, new: _T, aspects: Mapping[str, Callable[[_T], str]]) -> Iterator[Change]:
    for name, read in aspects.items():
        before, after = read(old), read(new)
        if before != after:
            yield Change(ChangeKind.CHANGED, place, f"{name} {_cut(before)} -> {_cut(after)}")


def _amount_of(limit: Limit) -> str:
    if limit.rate is None:
        return "unlimited"
    return amount_in_words(limit)


def _properties(limit: Limit) -> str:
    """Return the amount of a limit, its algorithm, and what differs from a plain limit."""
    burst = [f"burst {limit.rate.burst}"] if limit.rate and limit.rate.burst != limit.rate.quota else []
    special = [
        f"{name} {read(limit)}" for name, read in LIMIT.items() if read(limit) != read(_PLAIN) and name != "name"
    ]
    return ", ".join([_amount_of(limit), *burst, *special])


def _reserve(limit: Limit) -> str:
    reserve = limit.reserve
    if reserve is None:
        return "none"
    amount = str(reserve.amount) if reserve.amount else f"auto from {reserve.start}"
    return f"{amount} for {_ttl(limit)}"


def _ttl(limit: Limit) -> str:
    return f"{0 if limit.reserve is None else limit.reserve.ttl / SECOND:g} s"


def _queued(queue: Queue | None) -> str:
    return "none" if queue is None else f"{queue.length} for {queue.timeout / SECOND:g} s"


def _charge(value: Charging) -> str:
    return value.name.lower() if value else "none"


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _shown(text: bytes) -> str:
    return printable(text.decode(errors="backslashreplace"))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
