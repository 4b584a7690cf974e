"""Limits whose counters can have one name, as envoyproxy/ratelimit names them.

Upstream joins domain, keys and values with ``_`` and escapes nothing. Here a name is a sequence of texts, one
``key_value`` for each level, and two requests share a counter if different sequences are equal once they are joined. A
level is fixed, or a caller chooses a part of its text: a key without a value, or a wildcard. Where a caller chooses

- nothing, the name is read in every way that the tree allows: exact;
- in two levels or more, the values can be divided in two ways: they always share;
- in one level, the names begin and end with fixed text, which must agree with that of another: exact but for wildcards
  that have text after a ``*``, or that take some of the values of a more general descriptor.

Keys are those that the policy writes, since callers choose values and operators choose keys. A digest of an API key is
fixed: no caller can choose it. Overrides are left out, as their keys are not in the policy.
"""

from bisect import bisect_left
from collections.abc import Container, Iterator, Mapping
from itertools import chain, islice
from typing import Final, NamedTuple

from .model import DescriptorNode, Domain
from .rows import NodeRow
from .wildcards import STAR

Shared = dict[DescriptorNode, DescriptorNode]
"""Descriptors whose limit can share a counter, each with one that it can share with: another, or itself."""

READINGS: Final = 1_000
"""Steps of reading one name; a name with ten ``_`` needs some fifty."""

WORK: Final = 50
"""Steps and comparisons for each limit of a domain, and for ``READINGS`` more; where they do not suffice, limits are
taken as shared. A large policy needs ten for each."""

KEY_BARS: Final = 20
"""Positions at which a text is divided into key and value: no key of Envoy's has more than three ``_``."""

LEAST: Final = 2
"""Levels of a name that can be read in two ways: a name of one level is one text."""
_NO_TEXT: Final = b"\x00\x00"
"""Text that stands for any: no literal of a policy can be a part of it, since parsers refuse control characters."""


class _Level(NamedTuple):
    """The text of a descriptor in a name: all of it, or what precedes the caller's part."""

    text: bytes
    chosen: bool


class _Path(NamedTuple):
    """A descriptor with a counter of upstream's: the nodes from the root to it, and a level for each but the root."""

    nodes: tuple[DescriptorNode, ...]
    levels: tuple[_Level, ...]


class _Starts(NamedTuple):
    """How names of a domain begin, without the domain.

    Attributes:
        fixed: the texts of each up to a caller's part, sorted.
        chosen: those that such a part follows.
    """

    fixed: list[bytes]
    chosen: set[bytes]


class _Group:
    """Limits of one gap with the same fixed texts below the last caller's part.

    Attributes:
        several: whether a caller chooses a part of several levels.
        shared: whether they are known to share.
    """

    __slots__ = ("below", "end", "nodes", "several", "shared")

    def __init__(self, below: tuple[bytes, ...], several: bool) -> None:
        self.below = below
        self.several = several
        self.end = b"".join([text + b"_" for text in below])
        self.nodes: list[DescriptorNode] = []
        self.shared = False


class _Gap:
    """The first caller's part on a path, and the limits at or below it; wildcards beside each other may have one.

    Attributes:
        above: the nodes from the root to the parent.
        texts: the text of each level, up to the caller's part.
        wildcard: whether that is of a wildcard, or of a key without a value.
        first: the descriptors of the level with the caller's part.
        groups: the limits.
        by_end: groups by their fixed text after the last caller's part.
        extended: groups by each ending of that text.
        open: number of groups that are not known to share.
    """

    __slots__ = ("above", "by_end", "extended", "first", "groups", "open", "start", "texts", "wildcard")

    def __init__(self, above: tuple[DescriptorNode, ...], texts: tuple[bytes, ...], *, wildcard: bool) -> None:
        self.above = above
        self.texts = texts
        self.wildcard = wildcard
        self.start = b"_".join(texts)
        self.first: set[DescriptorNode] = set()
        self.groups: dict[tuple[tuple[bytes, ...], bool], _Group] = {}
        self.by_end: dict[bytes, list[_Group]] = {}
        self.extended: dict[bytes, list[_Group]] = {}
        self.open = 0

    def add(self, node: DescriptorNode, first: DescriptorNode, below: tuple[bytes, ...], *, several: bool) -> None:
        """Add a limit."""
        self.first.add(first)
        group = self.groups.get((below, several))
        if group is None:
            group = self.groups[below, several] = _Group(below, several)
            self.open += 1
            self.by_end.setdefault(group.end, []).append(group)
            for ending in _endings(group.end):
                self.extended.setdefault(ending, []).append(group)
        group.nodes.append(node)


_Gaps = dict[tuple[DescriptorNode, bytes, bool], _Gap]


def shared_counters(domain: Domain, unreachable: Container[DescriptorNode] = ()) -> Shared:
    """Return the limits of a domain that can share a counter with another one, or for two requests of their own.

    ``unreachable``: descriptors that no request reaches, if they are known.
    """
    found: Shared = {}
    gaps: _Gaps = {}
    paths = [path for path in _limited(domain) if path.nodes[-1] not in unreachable]
    work = WORK * (READINGS + len(paths))
    for path in paths:
        chosen = [number for number, level in enumerate(path.levels) if level.chosen]
        node = path.nodes[-1]
        if not chosen:
            others, steps = _other_readings(domain, path, min(work, READINGS))
            work -= steps
            for other in others:
                if other not in unreachable:
                    _share(found, node, other)
            continue
        if len(chosen) > 1:
            found[node] = node
        below = tuple([level.text for level in path.levels[chosen[-1] + 1 :]])
        _gap_of(gaps, path, chosen[0]).add(node, path.nodes[chosen[0] + 1], below, several=len(chosen) > 1)
    _compare(list(gaps.values()), found, work)
    return found


def _gap_of(gaps: _Gaps, path: _Path, first: int) -> _Gap:
    wildcard = STAR in path.nodes[first + 1].final_key
    key = path.nodes[first], path.levels[first].text, wildcard
    gap = gaps.get(key)
    if gap is None:
        texts = tuple([level.text for level in path.levels[: first + 1]])
        gap = gaps[key] = _Gap(path.nodes[: first + 1], texts, wildcard=wildcard)
    return gap


def domains_that_share(domains: Mapping[bytes, Domain]) -> Iterator[tuple[bytes, bytes]]:
    """Yield pairs of domains with a counter of one name: ``x`` with a key ``y_z``, and ``x_y`` with a key ``z``."""
    lengths = set(map(len, domains))
    starts: dict[bytes, _Starts] = {}
    for name, domain in domains.items():
        shorter = [name[:end] for end in _bars(name) if end in lengths and name[:end] in domains]
        if not shorter or next(_limited(domain), None) is None:
            continue
        for other in shorter:
            if other not in starts:
                starts[other] = _starts(domains[other])
            if _begins(starts[other], name[len(other) + 1 :] + b"_"):
                yield other, name


def is_upstream(node: DescriptorNode | NodeRow) -> bool:
    """Whether a limit of a descriptor has a counter with upstream's name."""
    return any(limit.upstream and limit.rate is not None for limit in node.limits)


def _starts(domain: Domain) -> _Starts:
    fixed: set[bytes] = set()
    chosen: set[bytes] = set()
    for path in _limited(domain):
        name = b""
        for level in path.levels:
            name += level.text if level.chosen else level.text + b"_"
            if level.chosen:
                chosen.add(name)
                break
        fixed.add(name)
    return _Starts(sorted(fixed), chosen)


def _begins(starts: _Starts, text: bytes) -> bool:
    """Whether a name can begin with this text."""
    at = bisect_left(starts.fixed, text)
    if at < len(starts.fixed) and starts.fixed[at].startswith(text):
        return True
    return any(text[:end] in starts.chosen for end in range(len(text) + 1))


def _limited(domain: Domain) -> Iterator[_Path]:
    """Yield each descriptor with a counter of upstream's."""
    pending = [_Path((domain.root,), ())]
    while pending:
        nodes, levels = pending.pop()
        for child in nodes[-1].children.values():
            path = _Path((*nodes, child), (*levels, _level(domain, child)))
            if is_upstream(child):
                yield path
            if child.children:
                pending.append(path)


def _level(domain: Domain, node: DescriptorNode) -> _Level:
    final_key = node.final_key
    if STAR in final_key and not node.share_threshold:
        return _Level(final_key.partition(STAR)[0], chosen=not _is_digest(domain, node))
    if node.value or node.share_threshold:
        return _Level(final_key, chosen=False)
    return _Level(node.key + b"_", chosen=not _is_digest(domain, node))


def _is_digest(domain: Domain, node: DescriptorNode) -> bool:
    return domain.identity is not None and node.key == domain.identity.key


def _share(found: Shared, one: DescriptorNode, other: DescriptorNode) -> None:
    found.setdefault(one, other)
    found.setdefault(other, one)


def _bars(text: bytes, start: int = 1) -> Iterator[int]:
    """Yield the position of each ``_`` from ``start``: no key is empty."""
    at = text.find(b"_", start)
    while at > 0:
        yield at
        at = text.find(b"_", at + 1)


def _endings(end: bytes) -> Iterator[bytes]:
    """Yield a text of whole parts and all its endings, the empty one included."""
    yield end
    for at in _bars(end):
        yield end[at + 1 :]


def _other_readings(domain: Domain, path: _Path, most: int) -> tuple[list[DescriptorNode], int]:
    """Return the other limits whose names can be that of a fixed path, and the steps it took.

    After ``most`` steps the limit itself is among them.
    """
    name, node = b"".join([level.text + b"_" for level in path.levels]), path.nodes[-1]
    others: list[DescriptorNode] = []
    steps = 0
    if name.count(b"_") < 2 * LEAST:
        return others, steps
    pending = [(domain.root, 0)]
    seen = set(pending)
    while pending:
        above, start = pending.pop()
        for end in _bars(name, name.find(b"_", start + 1) + 1):
            steps += 1
            if steps > most:
                return [*others, node], steps
            for child in _selected(domain, above, name[start:end]):
                if end + 1 == len(name):
                    if child is not node and is_upstream(child):
                        others.append(child)
                elif child.children and (child, end + 1) not in seen:
                    seen.add((child, end + 1))
                    pending.append((child, end + 1))
    return others, steps


def _selected(domain: Domain, node: DescriptorNode, text: bytes) -> Iterator[DescriptorNode]:
    """Yield the descriptors that an entry with this text in the counter's name selects, as ``match`` does."""
    found = node.children.get(text)
    if found is None and node.wildcards is not None:
        found = node.wildcards.find(text)
        if found is not None and (found.share_threshold or _is_digest(domain, found)):
            return
    if found is not None:
        if found.value or STAR in found.final_key or _is_digest(domain, found):
            yield found
        return
    for at in islice(_bars(text), KEY_BARS):
        by_key = node.children.get(text[:at])
        if by_key is not None and not by_key.value and STAR not in by_key.key and not _is_digest(domain, by_key):
            yield by_key


def _compare(gaps: list[_Gap], found: Shared, work: int) -> None:
    """Compare each gap with those whose names begin alike: sorted, they are on a stack."""
    gaps.sort(key=lambda gap: gap.start)
    stack: list[_Gap] = []
    for gap in gaps:
        while stack and not gap.start.startswith(stack[-1].start):
            stack.pop()
        stack.append(gap)
        for other in stack:
            work -= _compare_two(other, gap, found)
            if work < 0:
                for node in (node for each in gaps for group in each.groups.values() for node in group.nodes):
                    found.setdefault(node, node)
                return


def _compare_two(one: _Gap, other: _Gap, found: Shared) -> int:
    """Mark the limits of two gaps that can share a counter, the second beginning with all of the first's text.

    Returns the number of comparisons.
    """
    if (one is other and len(one.groups) == 1) or (one is not other and _is_taken(one, other)):
        return 1
    work = 1
    alike = one.above[-1] is other.above[-1] and (one is other or one.wildcard or other.wildcard)
    for group in other.groups.values():
        if group.shared and not one.open:
            continue
        ending_alike = [one.extended.get(group.end, ()), *[one.by_end.get(end, ()) for end in _endings(group.end)]]
        work += len(ending_alike)
        for partner in chain.from_iterable(ending_alike):
            work += 1
            one_request = alike and partner.below == group.below and not (partner.several or group.several)
            if partner is not group and not one_request:
                _mark(found, one, partner, group.nodes[0])
                _mark(found, other, group, partner.nodes[0])
                if not one.open:
                    break
    return work


def _mark(found: Shared, gap: _Gap, group: _Group, other: DescriptorNode) -> None:
    if not group.shared:
        group.shared = True
        gap.open -= 1
        for node in group.nodes:
            found.setdefault(node, other)


def _is_taken(one: _Gap, other: _Gap) -> bool:
    """Whether a wildcard takes all values with which the first gap could have the second's names."""
    depth = len(one.above) - 1
    if len(other.above) <= depth or other.above[depth] is not one.above[depth]:
        return False
    text = other.texts[depth]
    wildcards = one.above[depth].wildcards
    if wildcards is None or b"_" in text[len(one.texts[depth]) :]:
        return False
    if one.wildcard and not all(node.final_key.endswith(STAR) for node in one.first):
        return False
    taking = wildcards.find(text + (b"_" if len(other.above) > depth + 1 else b"") + _NO_TEXT)
    return taking is not None and taking not in one.first
