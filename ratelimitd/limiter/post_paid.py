"""What outlives requests and policies of limits whose costs come afterwards: switches, what settlements have told about
the amount of a hold, and settlements that wait.

A settlement waits if its store was away, or if it is not known yet that it was one: costs that are refused while a
limit may be about to switch are settlements if it does, and forgotten if it does not.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from ratelimitd.algorithms import KEYED_BY_WINDOW, POST_PAID, Decision, Estimate, Hold, HoldDecision
from ratelimitd.policy import Charging, Limit, Policy
from ratelimitd.sharded import ShardedDict, grown, parts_of, removed
from ratelimitd.value import Value

from .holding import without
from .places import Place, limit_at, name_of_limit, place
from .roles import SETTLEMENT
from .rules import NodeRules
from .seam import Ask, Charge, FailureKind, Item, LimitRequest, Plan, Store
from .switches import LOOKED_AT, WITHIN, Switch, Switches

NOTHING_DUE: Final = 1 << 61
"""In the year 75,000. mypyc compares numbers below 2**62 as C does; larger ones cost each call 300 instructions."""

KEPT_MOST: Final = 5_000
"""Default of SETTLEMENTS_KEPT: what 30 answers a second report in almost three minutes."""

IN_DOUBT: Final = 1_000
"""Costs that may turn out to be settlements, of all limits: those of a minute before a limit switches."""

KEPT_BYTES: Final = 700
"""Memory of a settlement that waits: tracemalloc measures 375 with a key of 100 bytes, and almost twice as much with
the rule of a limit that came with the request."""

AT_ONCE: Final = 128
"""Settlements that are charged together: one script call."""

LASTING: Final = (FailureKind.KEY, FailureKind.PERMANENT)
"""Failures that another attempt would meet again."""

PRUNED: Final = 100
"""Limits that are looked for in a policy in one step: 0.5 ms, or some ms if each is at the deepest level."""

V = TypeVar("V")

Estimates = dict[Place, tuple[str, Estimate]] | ShardedDict[Place, tuple[str, Estimate]]


class Waiting(Value):
    """A settlement that waits.

    Attributes:
        charge, cost: as its request was charged.
        domain, found: domain, and node of the policy.
        at: time of the report, µs.
        ours: whether it comes from a tool of ratelimitd.
    """

    __match_args__ = ("charge", "cost", "domain", "found", "at", "ours")
    __slots__ = __match_args__

    def __init__(self, charge: Charge, cost: int, domain: bytes, found: NodeRules, at: int, ours: bool = False) -> None:
        self.charge = charge
        self.cost = cost
        self.domain = domain
        self.found = found
        self.at = at
        self.ours = ours

    def expired(self, now: int) -> bool:
        """Whether the window of its limit is over."""
        rate = self.charge.rule.rate
        if rate is None:
            return True
        if rate.algorithm in KEYED_BY_WINDOW:
            return now // rate.window != self.at // rate.window
        return now - self.at >= rate.window

    def holds(self, now: int) -> bool:
        """Whether there may still be a hold that it releases."""
        return self.charge.hold is not None and now - self.at < self.charge.hold.ttl


def _ignore_switch(_switch: Switch) -> None:
    """Do nothing."""


def _ignore_name(_name: str) -> None:
    """Do nothing."""


def _ignore() -> None:
    """Do nothing."""


class PostPaid:
    """Switches of limits, and settlements that wait.

    Args:
        most: SETTLEMENTS_KEPT.

    Attributes:
        switches: by limit.
        estimates: by limit with ``amount: auto``, after the name of the limit.
        questions: charges that asked a limit without ``charge`` with 0 since the last ``weigh``, by request.
        due: time at which ``weigh`` has something to do without questions, µs.
        recorded, dropped: settlements and releases that waited, and were recorded in the end, or not.
        switched: called with a switch that was turned.
        forgot: called with the name of a limit whose first costs were refused and forgotten.
        waits: called with the first settlement that waits for its store.
    """

    def __init__(self, most: int = KEPT_MOST) -> None:
        self.switches: dict[Place, Switch] | ShardedDict[Place, Switch] = {}
        self.estimates: Estimates = {}
        self.questions: list[list[Charge]] = []
        self.due = NOTHING_DUE
        self.recorded = 0
        self.dropped = 0
        self.switched: Callable[[Switch], None] = _ignore_switch
        self.forgot: Callable[[str], None] = _ignore_name
        self.waits: Callable[[], None] = _ignore
        self._on = Switches()
        self._most = most
        self._kept: deque[Waiting] = deque()
        self._under_way = 0
        self._doubtful: deque[Waiting] = deque()
        self._told: dict[Place, bool] | ShardedDict[Place, bool] = {}

    def __len__(self) -> int:
        """Return the number of settlements that wait for their store, or for its reply."""
        return len(self._kept) + self._under_way

    def known(self, domain: bytes, found: NodeRules, limit: Limit) -> Switch | None:
        """Return the switch of a limit, if it was ever asked with 0."""
        return self.switches.get(place(domain, found, limit))

    def switch(self, domain: bytes, found: NodeRules, limit: Limit) -> Switch:
        """Return the switch of a limit; a new one is off."""
        key = place(domain, found, limit)
        switch = self.switches.get(key)
        if switch is None:
            self.switches = grown(self.switches)
            switch = self.switches[key] = Switch(name_of_limit(domain, found, limit))
        return switch

    def estimate(self, domain: bytes, found: NodeRules, limit: Limit) -> Estimate | None:
        """Return what settlements of a limit have told about the amount of a hold; None if the policy says it."""
        if limit.reserve is None or limit.rate is None or limit.reserve.amount:
            return None
        key = place(domain, found, limit)
        known = self.estimates.get(key)
        if known is None:
            known = name_of_limit(domain, found, limit), Estimate(limit.reserve.start, limit.rate.burst)
            self.estimates = grown(self.estimates)
            self.estimates[key] = known
        _, estimate = known
        estimate.most = limit.rate.burst
        return estimate

    def amounts(self) -> Iterator[tuple[str, int]]:
        """Yield the names of limits with ``amount: auto``, and what settlements have told."""
        for name, estimate in self.estimates.values():
            yield name, estimate.held

    def switched_on(self) -> Sequence[Switch]:
        """Return the switches that are on; some may fade at the next look."""
        return self._on.on

    def prune(self, policy: Policy, now: int) -> Iterator[None]:
        """Forget what is kept of limits that a policy has not, or says itself; yield after each part."""
        for some in _parts(self.switches):
            for key in some:
                self._prune_switch(key, limit_at(policy, key))
            yield
        for _ in range(0, len(self._on.on), LOOKED_AT):
            self.fade(now)
            yield
        for some in _parts(self.estimates):
            for key in some:
                self._prune_estimate(key, limit_at(policy, key))
            yield
        for some in _parts(self._told):
            for key in some:
                if limit_at(policy, key) is None:
                    removed(self._told, key)
            yield

    def _prune_switch(self, key: Place, limit: Limit | None) -> None:
        if limit is None or limit.charge is not Charging.UNSAID:
            switch = removed(self.switches, key)
            if switch is not None:
                switch.on = False

    def _prune_estimate(self, key: Place, limit: Limit | None) -> None:
        if limit is None or limit.reserve is None or limit.reserve.amount:
            known = removed(self.estimates, key)
            if known is not None:
                known[1].gone = True

    def weigh(self, store: Store, now: int) -> None:
        """Turn switches by the questions since the last call, and by the time that has passed.

        Settlements of a limit that were refused before it switched are charged now, before the requests that follow.
        """
        questions, self.questions = self.questions, []
        for charges in questions:
            for switch in {id(each): each for each in _switches_of(charges)}.values():
                if switch.asked(now):
                    self._on.on.append(switch)
                    self.due = now
                    self.switched(switch)
        for charges in questions:
            for charge in charges:
                if charge.rule.switch is not None and charge.rule.switch.on:
                    charge.flags |= POST_PAID
        if now >= self.due:
            self._charge(store, self._no_longer_in_doubt(), now)
            self._look(now)

    def fade(self, now: int) -> None:
        """Switch back limits that have not been asked with 0 for long; of very many, some at each call."""
        for switch in self._on.look(now):
            self.switched(switch)

    def _look(self, now: int) -> None:
        """Do what was due, and find out what is next."""
        self.fade(now)
        while self._doubtful and now - self._doubtful[0].at > WITHIN:
            self._forget(self._doubtful.popleft())
        self.due = self._on.next_look(now) if self._on.on else NOTHING_DUE
        if self._doubtful:
            self.due = min(self.due, self._doubtful[0].at + WITHIN + 1)

    def refused(self, ask: Ask, indices: Sequence[int], now: int) -> None:
        """Take note of charges that cost nothing, since they were refused, of limits without ``charge``.

        Hits that a descriptor has of its own may have been spent already; those of a tool of ours have not.
        """
        if ask.plan.request.ours:
            return
        for index in indices:
            position, item = item_of(ask.plan, index)
            if item.found is None or ask.plan.request.descriptors[position].hits is None:
                continue
            switch, waiting = ask.plan.charges[index].rule.switch, alone(ask, index, item.found, now)
            if switch is None or not switch.in_doubt(now):
                self._forget(waiting)
                continue
            self._doubtful.append(waiting)
            self.due = min(self.due, now if switch.on else now + WITHIN + 1)
            if len(self._doubtful) > min(self._most, IN_DOUBT):
                self._forget(self._doubtful.popleft())

    def keep(self, ask: Ask, index: int, now: int) -> None:
        """Keep a settlement whose store was away, unless it may have been charged or never can be.

        If it has released a hold in this process, its request was held there, and it releases none of another request.
        """
        failure, outcome, (_, item) = ask.failures[index], ask.outcomes[index], item_of(ask.plan, index)
        released = isinstance(outcome, HoldDecision) and outcome.moved > 0
        if released and ask.costs[index] == 0:
            return
        if item.found is None or failure.kind in LASTING:
            self.dropped += 1
            return
        waiting = alone(ask, index, item.found, now)
        hold = waiting.charge.hold
        if released and hold is not None:
            waiting.charge.hold = without(hold)
        if failure.sent:
            self._keep_release(waiting)
        else:
            self._keep(waiting)

    def release(self, charges: Sequence[tuple[Ask, int]], now: int) -> None:
        """Release holds that requests took, or may have taken, without an answer that names them.

        They wait like settlements, which none of them displaces.
        """
        for ask, index in charges:
            made, (_, item) = ask.plan.charges[index], item_of(ask.plan, index)
            if made.hold is None or item.found is None or len(self._kept) >= self._most:
                continue
            released = Charge(made.rule, made.key, SETTLEMENT, Hold(made.hold.ttl, 0, made.hold.names))
            self._keep(Waiting(released, 0, ask.plan.request.domain, item.found, now))

    def _keep_release(self, waiting: Waiting) -> None:
        """Keep of a settlement that may have been charged what may be repeated: the release of a hold by its name."""
        hold = waiting.charge.hold
        named = hold is not None and len(hold.names) > 0
        self.dropped += waiting.cost > 0 or not named
        if named and len(self._kept) < self._most:
            self._keep(waiting._replace(cost=0))

    def charge_kept(self, store: Store, now: int) -> None:
        """Charge the oldest settlements that wait; those that fail again wait on."""
        some: list[Waiting] = []
        while self._kept and len(some) < AT_ONCE:
            waiting = self._kept.popleft()
            if not waiting.expired(now):
                some.append(waiting)
                continue
            self.dropped += waiting.cost > 0
            if waiting.holds(now):
                some.append(waiting._replace(cost=0))
        self._charge(store, some, now)

    def _keep(self, waiting: Waiting) -> None:
        self._kept.append(waiting)
        if len(self._kept) > self._most:
            self._kept.popleft()
            self.dropped += 1
        elif len(self._kept) == 1:
            self.waits()

    def _charge(self, store: Store, some: Sequence[Waiting], now: int) -> None:
        if some:
            self._under_way += len(some)
            store.charge([asked(each) for each in some], now, self._charged)

    def _charged(self, asks: Sequence[Ask]) -> None:
        self._under_way -= len(asks)
        for ask in asks:
            outcome = ask.outcomes[0]
            if isinstance(outcome, Decision):
                self.recorded += 1
                ask.plan.charges[0].rule.settled(outcome.before, ask.costs[0], ask.plan.request.ours)
            elif outcome is None or outcome.kind in LASTING:
                self.dropped += 1
            elif outcome.sent:
                self._keep_release(ask.tag)
            else:
                self._keep(ask.tag)

    def _no_longer_in_doubt(self) -> list[Waiting]:
        """Take the refused costs of limits that have switched."""
        found = [each for each in self._doubtful if _is_on(each)]
        if found:
            self._doubtful = deque([each for each in self._doubtful if not _is_on(each)])
        return found

    def _forget(self, waiting: Waiting) -> None:
        """Count costs that were refused; a cost of 1 is a request more often than a report."""
        if waiting.cost < 2:
            return
        waiting.charge.rule.tally.later().forgotten_hits += waiting.cost
        limit = waiting.domain, waiting.found, waiting.charge.limit
        key = place(*limit)
        if key not in self._told:
            self._told = grown(self._told)
            self._told[key] = True
            self.forgot(name_of_limit(*limit))


def _parts(entries: dict[Place, V] | ShardedDict[Place, V]) -> Iterator[list[Place]]:
    """Yield the keys, ``PRUNED`` of them at a time."""
    for part in parts_of(entries):
        for first in range(0, len(part), PRUNED):
            yield part[first : first + PRUNED]


def _is_on(waiting: Waiting) -> bool:
    switch = waiting.charge.rule.switch
    return switch is not None and switch.on


def _switches_of(charges: Sequence[Charge]) -> list[Switch]:
    return [charge.rule.switch for charge in charges if charge.rule.switch is not None]


def item_of(plan: Plan, index: int) -> tuple[int, Item]:
    """Return the position and item of the descriptor that makes a charge."""
    for position, item in enumerate(plan.items):
        if item.first <= index < item.last:
            return position, item
    raise ValueError(f"no descriptor makes charge {index}")


def alone(ask: Ask, index: int, found: NodeRules, now: int) -> Waiting:
    """Return a charge of an ask as a settlement of its own."""
    made = ask.plan.charges[index]
    charge = Charge(made.rule, made.key, SETTLEMENT, made.hold)
    request = ask.plan.request
    return Waiting(charge, ask.costs[index], request.domain, found, now, request.ours)


def asked(waiting: Waiting) -> Ask:
    """Return a settlement that waits as an ask."""
    plan = Plan((waiting.charge,), request=LimitRequest(waiting.domain, (), ours=waiting.ours))
    return Ask(plan, [waiting.cost], tag=waiting)
