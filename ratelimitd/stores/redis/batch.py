"""Batches: pending asks, the script calls that carry them, and the node that each call is sent to."""

import logging
import random
from collections.abc import Iterable, Sequence
from typing import Final

from ratelimitd.algorithms import Decision, counter_key
from ratelimitd.limiter import Ask, Done, Failure, Outcome, is_independent
from ratelimitd.policy import OnStoreFailure

from .call import ATOMIC, INDEPENDENT, VETOED, Pending, ScriptCall, Selection
from .errors import is_not_here
from .node import RedisNode
from .options import RedisOptions
from .packing import calls, pack, pack_single, portions, rate_of, split
from .probe import PROBE
from .replies import is_wanted
from .topology import ANY_SLOT, Placement, Topology

log = logging.getLogger(__name__)

FATAL: Final = (OnStoreFailure.ERROR, OnStoreFailure.DENY)
"""Failure policies under which a failed charge fails or denies the request."""


def calls_of(
    queue: Sequence[Pending], topology: Topology, options: RedisOptions, now: int, due: float
) -> dict[RedisNode | None, list[ScriptCall]]:
    """Group the open charges of these asks into script calls, by node."""
    single = topology.only_node
    if single is not None:
        return {single: packed(single, selected(queue), options, now, due)}
    made: dict[RedisNode | None, list[ScriptCall]] = {}
    for (node, slot), selections in by_placement(queue, topology, now).items():
        made.setdefault(node, []).extend(packed(node, selections, options, now, due, declared=slot != ANY_SLOT))
    return made


def selected(queue: Iterable[Pending]) -> list[Selection]:
    """Return the open charges of each ask; an ask without open charges is omitted."""
    return [selection for each in queue for selection in portions(each.ask, each)]


def packed(
    node: RedisNode | None,
    selections: Sequence[Selection],
    options: RedisOptions,
    now: int,
    due: float,
    *,
    declared: bool = True,
) -> list[ScriptCall]:
    """Return the script calls of these selections to a node."""
    clock = now if options.clock == "host" else None
    # Spreads expiries, hides nothing.
    jitter = int(random.random() * options.jitter * 1000) if options.jitter else 0  # noqa: S311
    made = []
    for some in calls(split(selections)):
        size = 0
        for selection in some:
            size += len(selection.indices)
            if selection.pending is not None:
                selection.pending.calls += 1
        if size == 1:
            call = pack_single(some, now, clock=clock, jitter=jitter)
        else:
            call = pack(some, now, clock=clock, jitter=jitter, declared=declared)
        made.append(ScriptCall(node, some, call, size, due))
    return made


def by_placement(queue: Iterable[Pending], topology: Topology, now: int) -> dict[Placement, list[Selection]]:
    """Group the open charges by node, and by slot where a node asks for that, or charges must pass together.

    A script call cannot declare keys of two slots. It can use what it did not declare, and then each key passes or
    fails alone. So charges that must pass together and are in several slots take two rounds: a dry run, which returns
    for each whether it would pass, as for a vetoed ask; then the charge.
    """
    groups: dict[Placement, list[Selection]] = {}
    for pending in queue:
        for portion in portions(pending.ask, pending):
            _place(groups, portion, topology, now)
    return groups


def _place(groups: dict[Placement, list[Selection]], portion: Selection, topology: Topology, now: int) -> None:
    ask, indices, mode, pending = portion.ask, portion.indices, portion.mode, portion.pending
    if len(indices) == 1:
        _group(groups, _placement(topology, ask, indices[0], mode, now), portion)
        return
    placements: dict[Placement, list[int]] = {}
    for index in indices:
        placements.setdefault(_placement(topology, ask, index, mode, now), []).append(index)
    if mode == ATOMIC and len(placements) > 1 and pending is not None and not pending.charged:
        pending.dry_run = indices
        mode = VETOED
    for placement, some in placements.items():
        _group(groups, placement, Selection(ask, some, mode, pending))


def _placement(topology: Topology, ask: Ask, index: int, mode: int, now: int) -> Placement:
    """Return where a charge is made: at a node, in a slot or in any."""
    placement = topology.placement_of(rate_of(ask, index), _counter(ask, index, now))
    node = placement[0]
    return (node, ANY_SLOT) if mode == INDEPENDENT and node is not None and node.cross_slot else placement


def _counter(ask: Ask, index: int, now: int) -> bytes:
    """Return the name of a charge's counter."""
    return counter_key(ask.plan.charges[index].key, rate_of(ask, index), now)


def _group(groups: dict[Placement, list[Selection]], placement: Placement, selection: Selection) -> None:
    group = groups.get(placement)
    if group is None:
        groups[placement] = [selection]
    else:
        group.append(selection)


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
    charged = any(keep and ask.costs[i] > 0 and not is_independent(ask, i) for i, keep in enumerate(kept))
    missing = any(charge.binding and not keep for charge, keep in zip(ask.plan.charges, kept, strict=True))
    return charged and missing


def has_passed(call: ScriptCall) -> bool:
    """Whether a charge with a cost passed, which proves that the node accepts calls and writes."""
    return any(
        isinstance(outcome, Decision) and outcome.allowed and cost > 0
        for selection in call.selections
        for outcome, cost in [(selection.ask.outcomes[i], selection.ask.costs[i]) for i in selection.indices]
    )


def by_counter(call: ScriptCall) -> list[Selection]:
    """Return the charges of a call, those of an ask on one counter together, in order; without asks that are over."""
    made = []
    for each in call.selections:
        if not is_wanted(each):
            continue
        counters: dict[bytes, list[int]] = {}
        for index in each.indices:
            counters.setdefault(_counter(each.ask, index, call.now), []).append(index)
        made += [Selection(each.ask, indices, each.mode, each.pending) for indices in counters.values()]
    return made


def reopen_not_here(call: ScriptCall) -> list[Selection]:
    """Open the charges again whose keys the node refused, since their slots are elsewhere. Return them by counter."""
    refused = []
    for each in by_counter(call):
        outcomes = each.ask.outcomes
        indices = [index for index in each.indices if _is_not_here(outcomes[index])]
        if indices:
            for index in indices:
                outcomes[index] = None
            refused.append(Selection(each.ask, indices, each.mode, each.pending))
    return refused


def _is_not_here(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and is_not_here(outcome.message)


def is_probe(call: ScriptCall) -> bool:
    """Whether the call is a probe of its node."""
    return call.selections[0].ask.tag is PROBE


def complete(finished: Sequence[Pending]) -> None:
    """Complete those of these asks that are not over: one call per ``done``."""
    groups: dict[Done, list[Ask]] = {}
    last: Done | None = None
    group: list[Ask] = []
    for pending in finished:
        if pending.over:
            continue
        pending.over = True
        tick, pending.tick = pending.tick, None
        if tick is not None:
            tick.leave()
        if pending.done is not last:
            last = pending.done
            group = groups.setdefault(last, [])
        group.append(pending.ask)
    for done, asks in groups.items():
        try:
            done(asks)
        except Exception:
            log.exception("failed to deliver decisions to their caller")
