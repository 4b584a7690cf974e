"""From a request to its charges: the limits that apply, their keys and costs.

A plan depends only on the request and the policy, never on time.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, NamedTuple

from ratelimitd.policy import (
    Descriptor,
    DescriptorNode,
    Domain,
    Entry,
    Identity,
    Limit,
    Match,
    Policy,
    find,
    identify,
    match,
    pinned,
)
from ratelimitd.sharded import ShardedDict

from .holding import set_holds
from .keys import KeyHead, KeyMaker
from .modes import Modes
from .post_paid import PostPaid
from .roles import asks, flags_of, has_roles
from .rules import NodeRules, Rule
from .seam import COST_MAX, TOGETHER_MAX, Charge, Item, LimitRequest, Plan
from .stats import Tallies, near_limit

NONE_REPLACED: Final[frozenset[str]] = frozenset()


_CALLS: Final = count(1)


def numbered() -> bytes:
    """Return the id of a call, another one each time; one that can be guessed, for tools and tests."""
    return b"%016x" % next(_CALLS)


class PlanOptions(NamedTuple):
    """Options that apply to every request.

    Attributes:
        all_or_nothing: STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT: every domain is all_or_nothing.
        modes: in either mode no limit vetoes another.
        near_limit_ratio: NEAR_LIMIT_RATIO.
        identity_secret: IDENTITY_SECRET; if empty, API keys are counted by their unsalted SHA-256.
        calls: returns the id of a call that takes holds.
    """

    all_or_nothing: bool = False
    modes: Modes = Modes()
    near_limit_ratio: float = 0.8
    identity_secret: bytes = b""
    calls: Callable[[], bytes] = numbered


class Planner:
    """A policy, and the rules of its nodes, each made by the first request that needs them.

    A reload makes a new planner, so no rule outlives its policy. The rules of a node are kept unless a value of the
    request is part of them: a limit that came with the request, or a name in metrics with ``value_to_metric`` or
    ``detailed_metric``.

    Attributes:
        post_paid: what requests have told about limits without ``charge``; it outlives the planner.
        made: how many times rules were made; that is several times the work of finding them.
    """

    def __init__(
        self,
        policy: Policy,
        keys: KeyMaker,
        tallies: Tallies,
        options: PlanOptions,
        post_paid: PostPaid | None = None,
    ) -> None:
        self.policy = policy
        self.post_paid = PostPaid() if post_paid is None else post_paid
        self._keys = keys
        self._tallies = tallies
        self._options = options
        # Not a copy, which takes long with thousands of domains; mypyc looks up in a dict faster than in a Mapping.
        self._domains = policy.domains if isinstance(policy.domains, dict) else dict(policy.domains)
        self._rules: ShardedDict[DescriptorNode, NodeRules] = ShardedDict()
        self.made = 0

    def forget(self, nodes: int) -> bool:
        """Drop the rules of at most this number of nodes; True while there are more.

        Freeing those of thousands at once takes long.
        """
        while nodes and self._rules:
            self._rules.popitem()
            nodes -= 1
        return bool(self._rules)

    def plan(self, request: LimitRequest) -> Plan:
        """Find every limit of a request, and its charges."""
        domain = self._domains.get(request.domain)
        if domain is None:
            items = tuple([Item(0, 0, unlimited=False, found=None) for _ in request.descriptors])
            return Plan((), request=request, items=items, known_domain=False)
        counted: list[tuple[Entry, ...]] | None = None
        if domain.identity is not None:
            request, counted = self._identified(domain.identity, request)
        together = self._options.all_or_nothing or domain.all_or_nothing
        matched = [self._rules_of(domain, descriptor) for descriptor in request.descriptors]
        single = matched[0] if len(matched) == 1 else None
        if single is not None and len(single.rules) == 1 and single.rules[0].head is not None:
            plan = _plan_one(request, single, single.rules[0].head, counted, together=together)
            if has_roles(single, request.descriptors[0]):
                self._take_roles(domain, plan)
            return plan
        replaced = replaced_by(matched)
        charges: list[Charge] = []
        costs: list[int] = []
        items_made: list[Item] = []
        roles = back = False
        for index, found in enumerate(matched):
            first = len(charges)
            if found is None:
                items_made.append(Item(first, first, unlimited=False, found=None))
                continue
            roles = roles or has_roles(found, request.descriptors[index])
            entries = pinned(found.pins, request.descriptors[index].entries if counted is None else counted[index])
            unlimited = _charge(found, entries, replaced, charges)
            last = len(charges)
            if first == last and not unlimited:
                found = None  # noqa: PLW2901 -- all of its limits are replaced
            items_made.append(Item(first, last, unlimited and first == last, found, entries))
            cost = cost_of(request.descriptors[index], request.hits)
            back = back or cost < 0
            for _ in range(first, last):
                costs.append(cost)  # noqa: PERF401 -- extend() would make a list for most often one charge
        atomic = together and len(charges) <= TOGETHER_MAX
        plan = Plan(tuple(charges), costs, request, tuple(items_made), atomic=atomic, mixed=roles or back)
        if roles:
            self._take_roles(domain, plan)
        return plan

    def _take_roles(self, domain: Domain, plan: Plan) -> None:
        """Give each charge the role that its descriptor has for its limit, and note what asks with 0."""
        questions: list[Charge] | None = None
        holds = False
        descriptors = plan.request.descriptors
        for position, item in enumerate(plan.items):  # zip(strict=True) costs 1,800 instructions
            descriptor = descriptors[position]
            for index in range(item.first, item.last):
                charge = plan.charges[index]
                rule = charge.rule
                charge.flags = flags_of(rule, descriptor)
                holds = holds or rule.holds
                if rule.auto and asks(descriptor) and item.found is not None and not plan.request.ours:
                    if rule.switch is None:
                        rule.switch = self.post_paid.switch(domain.name, item.found, rule.limit)
                    if questions is None:
                        questions = []
                    questions.append(charge)
        if questions is not None:
            self.post_paid.questions.append(questions)
        if holds:
            set_holds(plan, self._options.calls())

    def _identified(self, identity: Identity, request: LimitRequest) -> tuple[LimitRequest, list[tuple[Entry, ...]]]:
        """Return the request with tiers in place of API keys, and the entries that its descriptors are counted by."""
        secret = self._options.identity_secret
        callers = [identify(identity, secret, descriptor) for descriptor in request.descriptors]
        shown = LimitRequest(
            request.domain, tuple([caller.descriptor for caller in callers]), request.hits, request.ours, request.looks
        )
        return shown, [caller.counted for caller in callers]

    def _rules_of(self, domain: Domain, descriptor: Descriptor) -> NodeRules | None:
        """Return the rules for a descriptor; None if no limit applies."""
        if descriptor.override is not None:
            found = match(domain, descriptor)
            return None if found is None else self._made(domain, found)
        node = find(domain, descriptor.entries)
        if node is None:
            return None
        rules = self._rules.get(node)
        if rules is None:
            found = match(domain, descriptor)
            if found is None:
                return None
            rules = self._made(domain, found)
            if node.stat_key is not None:
                self._rules[node] = rules
                rules.kept = True
        return rules

    def _made(self, domain: Domain, found: Match) -> NodeRules:
        self.made += 1
        rules = tuple([self._rule(domain, found, limit) for limit in found.limits])
        replaces = NONE_REPLACED  # one empty set for all: a policy has up to 100,000 nodes
        for limit in found.limits:
            if limit.replaces:
                replaces |= limit.replaces
        made = NodeRules(rules, replaces, found.pins, found.metadata, found.path)
        for rule in rules:
            if rule.auto and self.post_paid.switches:
                rule.switch = self.post_paid.known(domain.name, made, rule.limit)
            if rule.holds:
                rule.estimate = self.post_paid.estimate(domain.name, made, rule.limit)
                if rule.estimate is not None:
                    rule.tally.later().estimate = rule.estimate
        return made

    def _rule(self, domain: Domain, found: Match, limit: Limit) -> Rule:
        if limit.rate is None:
            return Rule(limit)
        modes = self._options.modes
        return Rule(
            limit,
            binding=not (limit.shadow_mode or limit.quota_mode or modes.shadow or modes.quota),
            tally=self._tallies.of(found.stat_key, limit.item, from_request=found.stat_from_request),
            near=near_limit(limit.rate.burst, self._options.near_limit_ratio),
            head=self._keys(domain.name, limit),
        )


def _plan_one(
    request: LimitRequest, found: NodeRules, head: KeyHead, counted: list[tuple[Entry, ...]] | None, *, together: bool
) -> Plan:
    """Plan a single descriptor with a single limit, the most common request, without a list for each field."""
    descriptor = request.descriptors[0]
    entries = pinned(found.pins, descriptor.entries if counted is None else counted[0])
    rule = found.rules[0]
    charge = Charge(rule, head.key(entries), rule.flags)
    item = Item(0, 1, unlimited=False, found=found, entries=entries)
    return Plan((charge,), [cost_of(descriptor, request.hits)], request, (item,), atomic=together, mixed=False)


def _charge(found: NodeRules, entries: tuple[Entry, ...], replaced: frozenset[str], charges: list[Charge]) -> bool:
    """Add the charges of a descriptor; return whether it has an unlimited limit.

    One that is replaced counts too: it would make no charge anyway, and envoyproxy/ratelimit shows it as unlimited.
    """
    unlimited = False
    for rule in found.rules:
        if rule.head is None:
            unlimited = True
        elif not replaced or rule.limit.name not in replaced:
            charges.append(Charge(rule, rule.head.key(entries), rule.flags))
    return unlimited


def repeats(plan: Plan) -> bool:
    """Return whether an equal request has this plan too while its planner is active. No guard changes its parts.

    Not a plan with holds, which are those of one call, nor with rules that are made for each request, nor one whose
    costs give back, settle or ask: what these mean to a limit depends on what others have told about it.
    """
    if not plan.known_domain or plan.mixed or len(plan.call) > 0:
        return False
    descriptors = plan.request.descriptors
    for position, item in enumerate(plan.items):
        found, descriptor = item.found, descriptors[position]
        if descriptor.negative or descriptor.lease is not None:
            return False
        if found is None:
            continue
        if not found.kept or (found.roles and (descriptor.hits is not None or found.switched)):
            return False
    return True


def replaced_by(matched: Iterable[NodeRules | None]) -> frozenset[str]:
    """Return the names of limits that do not apply, because a limit of the request replaces them."""
    replaced = NONE_REPLACED
    for found in matched:
        if found is not None and found.replaces:
            replaced |= found.replaces
    return replaced


def cost_of(descriptor: Descriptor, request_hits: int) -> int:
    """Return the cost of a descriptor: its own hits (0 asks or peeks), else the request's, else 1.

    Negative hits give back. A lease without hits is released, which costs nothing.
    """
    if descriptor.hits is None and descriptor.lease is not None:
        return 0
    hits = max(1, request_hits) if descriptor.hits is None else descriptor.hits
    hits = min(hits, COST_MAX)
    return -hits if descriptor.negative else hits
