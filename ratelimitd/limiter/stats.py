"""The counters of each limit: plain integers, updated with each decision and read by a scrape.

The split of a charge into over, near and within limit is envoyproxy/ratelimit's.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from sys import getsizeof
from typing import Final

from ratelimitd.algorithms import Estimate
from ratelimitd.policy import DescriptorNode, Domain, Policy, stat_key_of, walk
from ratelimitd.sharded import ShardedDict

REQUEST_MADE_SERIES: Final = 10_000
"""Series that request values may create, over all domains; further ones share ``other``.

Prometheus' guidance is to stay below some ten thousand series for one target.
"""

OTHER: Final = "other"

NAME_MAX: Final = 256
"""Characters of a name from a request, all its parts together; a longer one counts as ``other``. Names of configured
limits rarely have a hundred."""

NAME_BYTES: Final = 420
"""Bytes that the name of a series made by a request may take, on average: 4 MiB for ``REQUEST_MADE_SERIES``. A name of
three short parts takes 350, and one of 33 parts ten times as much. Past that, further series share ``other``."""

TALLY_BYTES: Final = 700
"""Bytes of a tally besides its name: the object, eleven integers, its places in a dict and a list, for which
tracemalloc measures 400 to 490; and as many integers more once costs come after requests."""

GONE_SERIES: Final = 1_000
"""Series of limits that are no longer in the policy, which stay until as many further ones have left: some reloads of a
controller, and 1 MiB. Each of them is also a series of Prometheus."""

RETIRED: Final = 200
"""Descriptors or tallies looked at in one step as a policy is replaced: half a millisecond."""

ALWAYS: Final = -1
"""Number of the policy of a tally that belongs to none: one that requests make, of which there are few."""

NOWHERE: Final = -1
"""Place of a tally that was let go."""


class LaterTally:
    """The counters of a limit whose costs come after the request.

    Attributes:
        questions: requests that passed without a cost.
        settlements: costs that were reported, ``settled_hits`` together.
        over_run_hits: the part of them past the limit.
        forgiven_hits: the part of them past the ceiling, which was not recorded.
        forgotten_hits: costs that were refused and may have been spent, of a limit without ``charge``.
        holds: holds that were taken.
        holds_expired: holds that were found to have expired.
        leases_unknown: settlements and releases of a hold that was not there.
        refused_by_holds: requests that only the holds of others kept from passing.
        estimate: what settlements have told about the amount of a hold; None if the policy says it.
    """

    __slots__ = (
        "estimate",
        "forgiven_hits",
        "forgotten_hits",
        "holds",
        "holds_expired",
        "leases_unknown",
        "over_run_hits",
        "questions",
        "refused_by_holds",
        "settled_hits",
        "settlements",
    )

    def __init__(self) -> None:
        self.questions = 0
        self.settlements = 0
        self.settled_hits = 0
        self.over_run_hits = 0
        self.forgiven_hits = 0
        self.forgotten_hits = 0
        self.holds = 0
        self.holds_expired = 0
        self.leases_unknown = 0
        self.refused_by_holds = 0
        self.estimate: Estimate | None = None

    @property
    def reserve_amount(self) -> int:
        """What an answer holds, with ``amount: auto`` in the active policy; else 0."""
        estimate = self.estimate
        return 0 if estimate is None or estimate.gone else estimate.held

    def settled(self, capacity: int, ceiling: int, before: int, cost: int) -> None:
        """Count a settlement; ``before`` is the count just before it."""
        self.settlements += 1
        self.settled_hits += cost
        self.over_run_hits += max(0, before + cost - max(capacity, before))
        self.forgiven_hits += max(0, before + cost - max(ceiling, before))


class Tally:
    """The counters of one limit, as envoyproxy/ratelimit names them.

    Attributes:
        after: counters of settlements; None if there was none.
        place: its place among all tallies, which another one may have after it; NOWHERE once it was let go.
        policy: number of the last policy that had the limit.
        label_text: its labels in the exposition; the first scrape writes them, and all others share them.
        failed: hits whose store failed, whatever was decided instead.
        hits_due: ``total_hits`` from which the engine's watcher is called; it sets the next.
        denied_due: ``over_limit`` from which it is called.
        hits_gap, denied_gap: hits that each of these thresholds stands for on average.
    """

    __slots__ = (
        "after",
        "denied_due",
        "denied_gap",
        "failed",
        "hits_due",
        "hits_gap",
        "item",
        "label_text",
        "near_limit",
        "over_limit",
        "over_limit_with_local_cache",
        "place",
        "policy",
        "shadow_mode",
        "stat_key",
        "total_hits",
        "within_limit",
    )

    def __init__(self, stat_key: tuple[str, ...], item: str) -> None:
        self.stat_key = stat_key
        self.item = item
        self.label_text = b""
        self.place = 0
        self.policy = 0
        self.total_hits = 0
        self.over_limit = 0
        self.near_limit = 0
        self.within_limit = 0
        self.over_limit_with_local_cache = 0
        self.shadow_mode = 0
        self.failed = 0
        self.hits_due = self.hits_gap = 1
        self.denied_due = self.denied_gap = 1
        self.after: LaterTally | None = None

    def later(self) -> LaterTally:
        """Return the counters of settlements."""
        if self.after is None:
            self.after = LaterTally()
        return self.after


class Tallies:
    """All tallies. They outlive a policy, so counters never decrease at a reload.

    Those of limits that a reload removed are let go after a while, see ``GONE_SERIES``. A place becomes that of another
    tally then, so their number is bounded, and what is kept beside the tallies can be kept by place.

    Args:
        request_made: REQUEST_MADE_SERIES; with ``NAME_BYTES`` also the bound of their names in bytes.

    Attributes:
        let_go: tallies that were let go so far.
    """

    def __init__(self, request_made: int = REQUEST_MADE_SERIES) -> None:
        self._tallies: ShardedDict[tuple[tuple[str, ...], str], Tally] = ShardedDict()
        self._listed: list[Tally | None] = []
        self._free: list[int] = []
        self._gone: OrderedDict[tuple[tuple[str, ...], str], Tally] = OrderedDict()
        self._policy = 0
        self.let_go = 0
        self._request_made_left = request_made
        self._name_bytes_left = request_made * NAME_BYTES
        self._unknown_domains: dict[str, int] = {}

    def __iter__(self) -> Iterator[Tally]:
        """Iterate over the present tallies, without a copy."""
        return filter(None, islice(self._listed, len(self._listed)))

    def __len__(self) -> int:
        return len(self._listed) - len(self._free)

    def part(self, first: int, most: int) -> list[Tally]:
        """Return the tallies of these places, for a walk in parts."""
        return [tally for tally in self._listed[first : first + most] if tally is not None]

    @property
    def places(self) -> int:
        """Places that tallies have or had."""
        return len(self._listed)

    def of(self, stat_key: tuple[str, ...], item: str, *, from_request: bool) -> Tally:
        """Return the tally of a limit; past a bound, new request-made ones of a domain share the tally ``other``."""
        found = self._tallies.get((stat_key, item))
        if found is not None:
            if from_request and found.policy not in (self._policy, ALWAYS) and self._takes(stat_key):
                found.policy = ALWAYS  # the policy had a limit of this name before, and now requests make it
            return found
        if from_request and not self._takes(stat_key):
            other = self.of((stat_key[0], OTHER), "", from_request=False)
            other.policy = ALWAYS
            return other
        tally = self._tallies[(stat_key, item)] = Tally(stat_key, item)
        tally.policy = ALWAYS if from_request else self._policy
        if self._free:
            tally.place = self._free.pop()
            self._listed[tally.place] = tally
        else:
            tally.place = len(self._listed)
            self._listed.append(tally)
        return tally

    def retire(self, policy: Policy) -> Iterator[None]:
        """Let go of the oldest tallies of limits that a policy does not have; yield after each part."""
        self._policy += 1
        if not self._listed:
            return
        for looked, (domain, path) in enumerate(walk(policy), 1):
            if path:
                self._mark(domain, path)
            if looked % RETIRED == 0:
                yield
        for key, tally in list(self._gone.items()):
            if tally.policy in (self._policy, ALWAYS):
                del self._gone[key]
        for first in range(0, len(self._listed), RETIRED):
            for each in self._listed[first : first + RETIRED]:
                if each is not None and each.policy not in (self._policy, ALWAYS):
                    self._leave(each)
            yield

    def _mark(self, domain: Domain, path: Sequence[DescriptorNode]) -> None:
        """Note that the active policy has the limits at the end of a path."""
        limits = path[-1].limits
        stat_key = stat_key_of(domain, path) if limits else ()
        for limit in limits:
            tally = self._tallies.get((stat_key, limit.item))
            if tally is not None and tally.policy != ALWAYS:
                tally.policy = self._policy

    def _leave(self, tally: Tally) -> None:
        """Keep the tally of a limit that is gone, and let go of the one that left first."""
        if tally.place == NOWHERE:
            return  # it has just been let go, for another one of the same part
        self._gone.setdefault((tally.stat_key, tally.item), tally)
        if len(self._gone) <= GONE_SERIES:
            return
        key, oldest = self._gone.popitem(last=False)
        self._tallies.pop(key)
        self._listed[oldest.place] = None
        self._free.append(oldest.place)
        oldest.place = NOWHERE
        self.let_go += 1

    def _takes(self, stat_key: tuple[str, ...]) -> bool:
        """Count a name that a request made, unless it or all of them together would be too large."""
        if self._request_made_left <= 0 or sum(map(len, stat_key)) > NAME_MAX:
            return False
        size = name_bytes(stat_key)
        if size > self._name_bytes_left:
            return False
        self._request_made_left -= 1
        self._name_bytes_left -= size
        return True

    def unknown_domain(self, domain: str, descriptors: int) -> bool:
        """Count descriptors of a domain that the policy does not have. True when a name is seen for the first time."""
        first = domain not in self._unknown_domains
        if first and (len(self._unknown_domains) >= UNKNOWN_DOMAINS or len(domain) > NAME_MAX):
            domain, first = OTHER, False
        self._unknown_domains[domain] = self._unknown_domains.get(domain, 0) + descriptors
        return first

    def unknown_domains(self) -> list[tuple[str, int]]:
        """Return (domain, descriptors) for each unknown domain in requests, the surplus as ``other``."""
        return list(self._unknown_domains.items())


UNKNOWN_DOMAINS: Final = 100
"""Unknown domains that are counted separately: enough to find a typing error, too few to fill a metrics store."""


def name_bytes(stat_key: tuple[str, ...]) -> int:
    """Return the memory of a name: its parts, and the text of its labels, which the first scrape adds."""
    return getsizeof(stat_key) + sum([getsizeof(part) + LABEL_BYTES + _escaped_bytes(part) for part in stat_key])


def _escaped_bytes(part: str) -> int:
    """Return the size of a part in a label at most: an ASCII character may be escaped by another one."""
    return (2 if part.isascii() else 4) * len(part)


LABEL_BYTES: Final = 12
"""Bytes of a label besides its value, as in ``key31="",``, with malloc's rounding."""


@lru_cache(maxsize=4096)
def near_limit(capacity: int, ratio: float) -> int:
    """Return the count from which a limit is near. Single precision, as upstream, so that dashboards do not shift."""
    return int(_single(_single(capacity) * _single(ratio)))


def _single(number: float) -> float:
    return float(struct.unpack("f", struct.pack("f", number))[0])


def count(tally: Tally, capacity: int, near: int, before: int, cost: int, *, shadow: bool) -> None:
    """Split a decided charge into within, near and over limit.

    ``capacity`` is the capacity of the limit, ``near`` the ``near_limit`` of it, ``before`` the count just before the
    charge. ``cost`` is above 0: a peek or a give-back is not counted.
    """
    after = before + cost
    if after > capacity:
        if before >= capacity:
            over = cost
        else:
            over = after - capacity
            tally.near_limit += capacity - max(near, before)
        tally.over_limit += over
        if shadow:
            tally.shadow_mode += over
        return
    tally.within_limit += cost
    if after > near:
        tally.near_limit += cost if before >= near else after - near
