"""From a request to its charges: the limits that apply, their keys and costs.

A plan depends only on the request and the policy, never on time, so equal requests share one.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from sys import getsizeof
from typing import Final, NamedTuple

from ratelimitd.policy import Descriptor, Domain, Identity, Limit, Match, Policy, counted_by_caller, identify, match

from .keys import KeyMaker
from .modes import Modes
from .seam import COST_MAX, Charge, Item, LimitRequest, Plan
from .stats import Tallies, Tally, near_limit

PLANS_BYTES: Final = 16 << 20
"""Memory of the plan cache: some 13,000 different requests, more than most meshes have routes."""

TOGETHER_MAX: Final = 128
"""Charges that can be all or nothing: the size of a script call. A request with more is charged limit by limit."""

PLAN_BYTES, ITEM_BYTES, ENTRY_BYTES, CHARGE_BYTES, OVERRIDE_BYTES = 370, 430, 140, 250, 250
"""Bytes of a cached plan, of each descriptor, entry and charge of it, and of each limit that came with the request,
besides their texts; tracemalloc measures 0.6 to 1.1 times."""


class _Built(NamedTuple):
    """An unfinished plan, with the plan's fields."""

    charges: list[Charge]
    costs: list[int]
    tallies: list[Tally]
    nears: list[int]
    items: list[Item]


class PlanOptions(NamedTuple):
    """Options that apply to every request.

    Attributes:
        all_or_nothing: STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT: every domain is all_or_nothing.
        modes: in either mode no limit vetoes another.
        near_limit_ratio: NEAR_LIMIT_RATIO.
        identity_secret: IDENTITY_SECRET; if empty, API keys are counted by their unsalted SHA-256.
    """

    all_or_nothing: bool = False
    modes: Modes = Modes()
    near_limit_ratio: float = 0.8
    identity_secret: bytes = b""


class Planner:
    """A policy and its plan cache. A reload makes a new planner, so no plan outlives its policy."""

    def __init__(self, policy: Policy, keys: KeyMaker, tallies: Tallies, options: PlanOptions) -> None:
        self.policy = policy
        self._keys = keys
        self._tallies = tallies
        self._options = options
        self._plans: OrderedDict[Hashable, tuple[Plan, int]] = OrderedDict()
        self._bytes = 0

    def recall(self, asked: Hashable) -> Plan | None:
        """Return the cached plan of this key, or None."""
        remembered = self._plans.get(asked)
        return None if remembered is None else remembered[0]

    def remember(self, asked: Hashable, plan: Plan, size: int = 0) -> None:
        """Cache a plan by a key of ``size`` bytes that only equal requests have; the oldest plans are dropped first."""
        held = size + _size_of(plan)
        self._plans[asked] = plan, held
        self._bytes += held
        while self._bytes > PLANS_BYTES:
            self._drop_oldest()

    def forget(self, plans: int) -> bool:
        """Drop at most this number of cached plans; True while there are more. Freeing thousands at once takes long."""
        for _ in range(min(plans, len(self._plans))):
            self._drop_oldest()
        return bool(self._plans)

    def _drop_oldest(self) -> None:
        _, (_, held) = self._plans.popitem(last=False)
        self._bytes -= held

    def plan(self, request: LimitRequest) -> Plan:
        """Find every limit of a request, and its charges."""
        domain = self.policy.domains.get(request.domain)
        if domain is None:
            items = tuple(Item(0, 0, unlimited=False, match=None) for _ in request.descriptors)
            return Plan((), request=request, items=items, known_domain=False)
        if domain.identity is None:
            matches = [match(domain, descriptor) for descriptor in request.descriptors]
        else:
            request, matches = self._identified(domain, domain.identity, request)
        if len(matches) == 1 and matches[0] is not None and len(matches[0].limits) == 1:
            return self._plan_one(domain, request, matches[0])
        replaced = replaced_by(matches)
        charges, costs, tallies, nears, planned = built = _Built([], [], [], [], [])
        for descriptor, found in zip(request.descriptors, matches, strict=True):
            if found is None:
                planned.append(Item(len(charges), len(charges), unlimited=False, match=None))
            else:
                self._add(built, domain, found, replaced, cost_of(descriptor, request.hits))
        return Plan(
            tuple(charges),
            tuple(costs),
            tuple(tallies),
            tuple(nears),
            request,
            tuple(planned),
            atomic=len(charges) <= TOGETHER_MAX and (self._options.all_or_nothing or domain.all_or_nothing),
        )

    def _plan_one(self, domain: Domain, request: LimitRequest, found: Match) -> Plan:
        """Plan a single descriptor with a single limit, the most common request, in two thirds of the time."""
        limit = found.limits[0]
        atomic = self._options.all_or_nothing or domain.all_or_nothing
        if limit.rate is None:
            items = (Item(0, 0, unlimited=True, match=found),)
            return Plan((), request=request, items=items, atomic=atomic)
        charge = self._charge(domain, found, limit)
        return Plan(
            (charge,),
            (cost_of(request.descriptors[0], request.hits),),
            (self._tallies.of(found.stat_key, limit.item, from_request=found.stat_from_request),),
            (near_limit(limit.rate.burst, self._options.near_limit_ratio),),
            request,
            (Item(0, 1, unlimited=False, match=found),),
            atomic=atomic,
        )

    def _identified(
        self, domain: Domain, identity: Identity, request: LimitRequest
    ) -> tuple[LimitRequest, list[Match | None]]:
        """Match by the caller's identity. The returned request has tiers in place of API keys."""
        secret = self._options.identity_secret
        callers = [identify(identity, secret, descriptor) for descriptor in request.descriptors]
        found = [match(domain, caller.descriptor) for caller in callers]
        matches = [each and counted_by_caller(caller, each) for each, caller in zip(found, callers, strict=True)]
        return request._replace(descriptors=tuple(caller.descriptor for caller in callers)), matches

    def _add(self, built: "_Built", domain: Domain, found: Match, replaced: frozenset[str], cost: int) -> None:
        """Add the charges of one descriptor for the limits it matched."""
        charges = built.charges
        first = len(charges)
        unlimited = False
        for limit in found.limits:
            if limit.name in replaced:
                continue
            if limit.rate is None:
                unlimited = True
                continue
            charges.append(self._charge(domain, found, limit))
            built.costs.append(cost)
            built.tallies.append(self._tallies.of(found.stat_key, limit.item, from_request=found.stat_from_request))
            built.nears.append(near_limit(limit.rate.burst, self._options.near_limit_ratio))
        limited = len(charges) > first
        built.items.append(
            Item(first, len(charges), unlimited and not limited, found if limited or unlimited else None)
        )

    def _charge(self, domain: Domain, found: Match, limit: Limit) -> Charge:
        modes = self._options.modes
        vetoes = not (limit.shadow_mode or limit.quota_mode or modes.shadow or modes.quota)
        return Charge(limit, self._keys(domain.name, found.identity, limit), vetoes)


def replaced_by(matches: Iterable[Match | None]) -> frozenset[str]:
    """Return the names of limits that do not apply, because a limit of the request replaces them."""
    replaced: frozenset[str] = frozenset()
    for found in matches:
        if found is not None:
            for limit in found.limits:
                replaced |= limit.replaces
    return replaced


def cost_of(descriptor: Descriptor, request_hits: int) -> int:
    """Return the cost of a descriptor: its own hits (0 peeks), else the request's, else 1; negative hits give back."""
    hits = max(1, request_hits) if descriptor.hits is None else descriptor.hits
    hits = min(hits, COST_MAX)
    return -hits if descriptor.negative else hits


def _size_of(plan: Plan) -> int:
    """Return the memory of a plan. Entries, names of metrics and paths of overrides are texts of any length."""
    descriptors = plan.request.descriptors
    texts = [ENTRY_BYTES + len(key) + len(value) for descriptor in descriptors for key, value in descriptor.entries]
    keys = sum([len(charge.key) + CHARGE_BYTES for charge in plan.charges])
    names = sum([_named(item.match) for item in plan.items if item.match is not None and item.match.stat_from_request])
    return PLAN_BYTES + ITEM_BYTES * len(descriptors) + sum(texts) + keys + names


def _named(found: Match) -> int:
    """Return the memory of what a match holds of the request's own text."""
    return sum(map(getsizeof, found.stat_key)) + (OVERRIDE_BYTES + len(found.path) if found.overridden else 0)
