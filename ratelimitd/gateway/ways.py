"""Ways: the route, descriptors, plan and hop headers of equal requests.

Requests are equal if routes, limits, upstream and log see no difference; see ``Asked``. Clients differ in paths,
cookies and ids more than in what is counted, so most requests find all of this made. No request changes a way. It
belongs to one snapshot of the gateway file; its plan belongs to one planner.
"""

from functools import partial
from typing import Final

from ratelimitd.http1 import Request, this_hop
from ratelimitd.limiter import Ask, Engine, LimitRequest, Plan, Planner, repeats

from .routing import Asked, CompiledRoute, Router

WAYS_BYTES: Final = 8 << 20
"""Memory of a table, as the constants below estimate it: 2,300 ways with two limits, more callers than a process of one
core often serves in a minute. To clear it takes 3 ms."""

WAY_BYTES, LIMIT_BYTES = 1_024, 1_280
"""Memory of a way without its key, and of each descriptor with at most two charges. Measured with tracemalloc: 2.4 KiB
for a way with two limits and an API key."""

MAX_CHARGES: Final = 2
"""Charges for each descriptor of a plan that is kept."""

MAX_KEY_BYTES: Final = 512
"""Bytes of what is read of a request whose way is kept; a head may have 32 KiB."""

MAX_SEEN: Final = 8_192
"""Hashes of keys that were seen once: a way is kept at the second request, as the heads of requests are."""

KEPT: Final = 60_000_000_000
"""Nanoseconds after which the next request clears the table: its keys have API keys in clear. To make a way takes some
40 µs."""


class Way:
    """What equal requests share.

    Attributes:
        routed: route of the requests.
        descriptors: their descriptors; empty if no limit applies.
    """

    __slots__ = ("_hop", "_plan", "_planner", "descriptors", "routed")

    def __init__(self, routed: CompiledRoute, asked: Asked) -> None:
        self.routed = routed
        self.descriptors = routed.descriptors(asked)
        self._plan: Plan | None = None
        self._planner: Planner | None = None
        self._hop: bytes | None = None

    def ask(self, engine: Engine, domain: bytes, deadline: int) -> Ask:
        """Plan a request, or take the plan of one before it. Raises the errors of ``Engine.ask``."""
        plan, planner = self._plan, engine.planner
        if plan is None or self._planner is not planner or not repeats(plan):
            ask = engine.ask(self.descriptors, partial(LimitRequest, domain), deadline)
            plan = ask.plan
            if not repeats(plan) or len(plan.charges) > MAX_CHARGES * len(self.descriptors):
                return ask
            self._plan, self._planner = plan, planner
        return engine.ask_again(plan, deadline)

    def hop(self, request: Request) -> bytes:
        """Return the lines of this hop for a request of this way; see ``this_hop``."""
        hop = self._hop
        if hop is None:
            hop = self._hop = this_hop(request)
        return hop


class Ways:
    """The ways of one snapshot, by all that is read of their requests; see ``Asked``. A full table is cleared."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._ways: dict[tuple[Asked, int], Way] = {}
        self._seen: set[int] = set()
        self._bytes = 0
        self._planner: Planner | None = None
        self._since = 0

    def __len__(self) -> int:
        return len(self._ways)

    def of(self, path: bytes, asked: Asked, planner: Planner | None, now: int) -> Way | None:
        """Return the way of a request; None if no route matches (404).

        Args:
            path: normalized path of the request.
            asked: what else is read of it.
            planner: the active one; a plan of another one, and with it a policy, is not kept.
            now: ns of a clock that does not step.
        """
        if planner is not self._planner or now - self._since > KEPT:
            self._clear()
            self._planner, self._since = planner, now
        routed = self._router.find(path, asked)
        if routed is None:
            return None
        key = (asked, routed.place)
        way = self._ways.get(key)
        if way is None:
            way = Way(routed, asked)
            self._keep(key, way)
        return way

    def _keep(self, key: tuple[Asked, int], way: Way) -> None:
        mark = hash(key)
        if mark not in self._seen:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(mark)
            return
        size = _key_bytes(key[0])
        if size > MAX_KEY_BYTES:
            return
        size += WAY_BYTES + LIMIT_BYTES * len(way.descriptors)
        if self._bytes + size > WAYS_BYTES:
            self._clear()
        self._bytes += size
        self._ways[key] = way

    def _clear(self) -> None:
        self._ways.clear()
        self._bytes = 0


def _key_bytes(asked: Asked) -> int:
    values = sum([len(value) for _, values in asked.headers for value in values])
    return values + len(asked.method) + len(asked.authority) + len(asked.path) + len(asked.query)
