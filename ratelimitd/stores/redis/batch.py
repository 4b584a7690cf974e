"""Batches: pending asks, the script calls that carry them, and the node that each call is sent to."""

import logging
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ratelimitd.algorithms import Decision, counter_key
from ratelimitd.limiter import Ask, Done, Failure
from ratelimitd.policy import OnStoreFailure

from .connection import Word
from .node import RedisNode
from .options import RedisOptions
from .probe import PROBE
from .script import (
    ATOMIC,
    INDEPENDENT,
    VETOED,
    WIDTH,
    Selection,
    calls,
    mode_of,
    open_selections,
    pack,
    pack_single,
    split,
    unpack,
)
from .topology import Placement, Topology

log = logging.getLogger(__name__)

FATAL: Final = (OnStoreFailure.ERROR, OnStoreFailure.DENY)
"""Failure policies under which a failed charge fails or denies the request."""


class Pending:
    """An ask in flight.

    Attributes:
        calls: script calls without a reply.
        deadline: end of its budget, by the loop's clock.
        over: whether it was completed.
        dry_run: indices of the charges that this round only checks, since they are in several slots and must pass
            together.
        charged: whether the second round, which charges them, was sent.
        domain, size: domain and number of its charges.
    """

    __slots__ = ("ask", "calls", "charged", "deadline", "domain", "done", "dry_run", "over", "size")

    def __init__(self, ask: Ask, deadline: float, done: Done, domain: bytes, size: int) -> None:
        self.ask = ask
        self.deadline = deadline
        self.done = done
        self.domain = domain
        self.size = size
        self.calls = 0
        self.over = False
        self.dry_run: Sequence[int] = ()
        self.charged = False


class ScriptCall:
    """One script call.

    Attributes:
        node: the node it was sent to.
        selections: its charges, ``size`` in total.
        pending: the asks of the selections, aligned with them.
        arguments: arguments of EVALSHA after the script's name.
        now: wall clock of the host, µs, that it was packed with.
        sent: time it was made, by ``time.perf_counter``.
        due: time by which the node should have replied, by the loop's clock.
        settled: whether the reply has arrived, or none will.
        late: whether its lateness was counted against the node.
        tries: times that a cluster redirected it, or that the script was missing.
    """

    __slots__ = ("arguments", "due", "late", "node", "now", "pending", "selections", "sent", "settled", "size", "tries")

    def __init__(
        self,
        node: RedisNode | None,
        selections: list[Selection],
        pending: list[Pending],
        arguments: list[Word],
        size: int,
        now: int,
        due: float,
    ) -> None:
        self.node = node
        self.selections = selections
        self.pending = pending
        self.arguments = arguments
        self.sent = time.perf_counter()  # the loop's own clock does not advance within an iteration
        self.now = now
        self.due = due
        self.settled = False
        self.late = False
        self.tries = 0
        self.size = size

    @property
    def together(self) -> bool:
        """Whether some of its charges must pass together."""
        return any(mode != INDEPENDENT for _, _, mode in self.selections)

    @property
    def unwanted(self) -> bool:
        """Whether all of its asks were completed."""
        return all(pending.over for pending in self.pending)


def calls_of(
    queue: Sequence[Pending], topology: Topology, options: RedisOptions, now: int, due: float
) -> dict[RedisNode | None, list[ScriptCall]]:
    """Group the open charges of these asks into script calls, by node."""
    pending_of = {id(pending.ask): pending for pending in queue}
    single = topology.only_node
    if single is not None:
        return {
            single: packed(single, open_selections([pending.ask for pending in queue]), pending_of, options, now, due)
        }
    made: dict[RedisNode | None, list[ScriptCall]] = {}
    for (node, _), selections in by_placement(queue, topology, now).items():
        made.setdefault(node, []).extend(packed(node, selections, pending_of, options, now, due))
    return made


def packed(
    node: RedisNode | None,
    selections: list[Selection],
    pending_of: Mapping[int, Pending],
    options: RedisOptions,
    now: int,
    due: float,
) -> list[ScriptCall]:
    """Return the script calls of these selections to a node. ``pending_of``: the pending asks, by ``id(ask)``."""
    clock = now if options.clock == "host" else None
    jitter = int(random.random() * options.jitter * 1000)  # noqa: S311 -- spreads expiries, hides nothing
    if len(selections) == 1 and len(selections[0][1]) == 1:
        pending = pending_of[id(selections[0][0])]
        pending.calls += 1
        keys, arguments = pack_single(selections[0], now, clock=clock, jitter=jitter)
        return [ScriptCall(node, selections, [pending], [1, *keys, *arguments], 1, now, due)]
    made = []
    for some in calls(split(selections)):
        owners = [pending_of[id(ask)] for ask, _, _ in some]
        for pending in owners:
            pending.calls += 1
        keys, arguments = pack(some, now, clock=clock, jitter=jitter)
        size = sum([len(indices) for _, indices, _ in some])
        made.append(ScriptCall(node, some, owners, [len(keys), *keys, *arguments], size, now, due))
    return made


def by_placement(queue: Iterable[Pending], topology: Topology, now: int) -> dict[Placement, list[Selection]]:
    """Group the open charges by node and slot.

    A script call cannot use two slots. So charges that must pass together and are in several slots take two rounds:
    a dry run, which returns for each whether it would pass, as for a vetoed ask; then the charge.
    """
    groups: dict[Placement, list[Selection]] = {}
    for pending in queue:
        ask = pending.ask
        placements: dict[Placement, list[int]] = {}
        for index, outcome in enumerate(ask.outcomes):
            if outcome is None:
                charge = ask.plan.charges[index]
                rate = charge.limit.rate
                if rate is None:
                    raise ValueError(f"charge {index} belongs to an unlimited limit, which has no counter")
                placement = topology.placement_of(rate, counter_key(charge.key, rate, now))
                placements.setdefault(placement, []).append(index)
        mode = mode_of(ask) if ask.atomic else INDEPENDENT
        if mode == ATOMIC and len(placements) > 1 and not pending.charged:
            pending.dry_run = [index for indices in placements.values() for index in indices]
            mode = VETOED
        for placement, indices in placements.items():
            groups.setdefault(placement, []).append((ask, indices, mode))
    return groups


def fill(call: ScriptCall, reply: Any) -> tuple[int, list[tuple[Failure, bool]]]:
    """Set the outcomes in a reply. Return the time of the decision, µs, and the failures.

    Each failure comes with whether to count it: no if its ask is already over. The outcomes of such an ask are set in
    a copy, which is dropped. Raises TypeError or ValueError if the script cannot have sent this reply.
    """
    selections = call.selections
    if any(pending.over for pending in call.pending):
        selections = [
            (Ask(ask.plan, ask.costs) if pending.over else ask, indices, mode)
            for (ask, indices, mode), pending in zip(selections, call.pending, strict=True)
        ]
    now = unpack(reply, selections, call.size)
    if len(reply) == 1 + WIDTH * call.size:
        return now, []
    return now, [
        (outcome, not pending.over)
        for (ask, indices, _), pending in zip(selections, call.pending, strict=True)
        for outcome in [ask.outcomes[index] for index in indices]
        if isinstance(outcome, Failure)
    ]


def end_dry_run(pending: Pending) -> bool:
    """End the dry run. Return whether the second round must follow: no if a binding charge rules it out.

    A binding charge rules it out by a denial, or by a failure that fails or denies the request by its limit's policy.
    """
    if is_doomed(pending.ask):
        pending.dry_run = ()
        return False
    reopen_dry_run(pending)
    pending.charged = None in pending.ask.outcomes
    return pending.charged


def reopen_dry_run(pending: Pending) -> None:
    """Reopen the outcomes of a dry run that would pass; a denial remains."""
    outcomes = pending.ask.outcomes
    for index in pending.dry_run:
        outcome = outcomes[index]
        if isinstance(outcome, Decision) and outcome.allowed:
            outcomes[index] = None
    pending.dry_run = ()


def is_doomed(ask: Ask) -> bool:
    """Whether a binding charge was denied, or failed and its limit's policy fails or denies the request."""
    return any(
        not outcome.allowed if isinstance(outcome, Decision) else charge.limit.on_store_failure in FATAL
        for charge, outcome in zip(ask.plan.charges, ask.outcomes, strict=True)
        if charge.binding and outcome is not None
    )


def charged_in_part(pending: Pending) -> bool:
    """Whether the second round charged only a part of an all-or-nothing ask: the rest was denied or failed."""
    ask = pending.ask
    kept = [isinstance(outcome, Decision) and outcome.allowed for outcome in ask.outcomes]
    charged = any(keep and cost > 0 for keep, cost in zip(kept, ask.costs, strict=True))
    missing = any(charge.binding and not keep for charge, keep in zip(ask.plan.charges, kept, strict=True))
    return charged and missing


def has_passed(call: ScriptCall) -> bool:
    """Whether a charge with a cost passed, which proves that the node accepts calls and writes."""
    return any(
        isinstance(outcome, Decision) and outcome.allowed and cost > 0
        for ask, indices, _ in call.selections
        for outcome, cost in [(ask.outcomes[index], ask.costs[index]) for index in indices]
    )


def is_probe(call: ScriptCall) -> bool:
    """Whether the call is a probe of its node."""
    return call.pending[0].ask.tag is PROBE


def complete(finished: Iterable[Pending]) -> None:
    """Complete those of these asks that are not over: one call per ``done``."""
    groups: dict[Done, list[Ask]] = {}
    for pending in finished:
        if not pending.over:
            pending.over = True
            groups.setdefault(pending.done, []).append(pending.ask)
    for done, group in groups.items():
        try:
            done(group)
        except Exception:
            log.exception("failed to deliver decisions to their caller")
