"""What is on its way: asks that wait, script calls that carry them, and which call goes to which server."""

import logging
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ratelimitd.algorithms import Decision, counter_key
from ratelimitd.limiter import Ask, Done, Failure
from ratelimitd.policy import OnStoreFailure

from .connection import Word
from .options import RedisOptions
from .script import (
    ATOMIC,
    INDEPENDENT,
    VETOED,
    WIDTH,
    Portion,
    calls,
    check,
    mode_of,
    open_portions,
    pack,
    pack_lone,
    split,
    unpack,
)
from .server import Node
from .topology import Spot, Topology

log = logging.getLogger(__name__)

FATAL: Final = (OnStoreFailure.ERROR, OnStoreFailure.DENY)
"""Policies by which a failure lets nothing pass."""


class Waiting:
    """An ask on its way.

    Attributes:
        calls: replies that are due before it is done.
        deadline: when its budget ends, by the loop's clock.
        over: it was handed on.
        trial: charges that lie on several servers or slots and must pass together: this round only looks at them.
        charged: a second round, which charges them, was sent.
        domain, size: whose charges they are, and how many.
    """

    __slots__ = ("ask", "calls", "charged", "deadline", "domain", "done", "over", "size", "trial")

    def __init__(self, ask: Ask, deadline: float, done: Done, domain: bytes, size: int) -> None:
        self.ask = ask
        self.deadline = deadline
        self.done = done
        self.domain = domain
        self.size = size
        self.calls = 0
        self.over = False
        self.trial: Sequence[int] = ()
        self.charged = False


class Call:
    """One script call.

    Attributes:
        node: the server that has it.
        portions: its charges, ``size`` of them; ``waiting``, aligned with them: whose they are.
        arguments: of EVALSHA, behind the script's name.
        now: the host's wall clock, µs, that it was packed for.
        sent: when, by ``time.perf_counter``; ``due``: by when its server should have answered, by the loop's clock.
        settled: the reply is here, or will not come.
        late: its server was told off for it.
        tries: how often a cluster sent it elsewhere, or Redis lacked the script.
    """

    __slots__ = ("arguments", "due", "late", "node", "now", "portions", "sent", "settled", "size", "tries", "waiting")

    def __init__(
        self,
        node: Node | None,
        portions: list[Portion],
        waiting: list[Waiting],
        arguments: list[Word],
        size: int,
        now: int,
        due: float,
    ) -> None:
        self.node = node
        self.portions = portions
        self.waiting = waiting
        self.arguments = arguments
        self.sent = time.perf_counter()  # the loop's own clock stands still within a turn
        self.now = now
        self.due = due
        self.settled = False
        self.late = False
        self.tries = 0
        self.size = size

    @property
    def together(self) -> bool:
        """Whether some of its charges must pass together."""
        return any(mode != INDEPENDENT for _, _, mode in self.portions)

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it any more."""
        return all(waiting.over for waiting in self.waiting)


def calls_of(
    queue: Sequence[Waiting], topology: Topology, options: RedisOptions, now: int, due: float
) -> dict[Node | None, list[Call]]:
    """Group the open charges of these asks into script calls, by server."""
    owner = {id(waiting.ask): waiting for waiting in queue}
    alone = topology.alone
    if alone is not None:
        return {alone: packed(alone, open_portions([waiting.ask for waiting in queue]), owner, options, now, due)}
    made: dict[Node | None, list[Call]] = {}
    for (node, _), portions in scattered(queue, topology, now).items():
        made.setdefault(node, []).extend(packed(node, portions, owner, options, now, due))
    return made


def packed(
    node: Node | None,
    portions: list[Portion],
    owner: Mapping[int, Waiting],
    options: RedisOptions,
    now: int,
    due: float,
) -> list[Call]:
    """Return the script calls that take these portions to a server; ``owner`` knows who waits, by the ask's id."""
    clock = now if options.clock == "host" else None
    jitter = int(random.random() * options.jitter * 1000)  # noqa: S311 -- spreads expiries, hides nothing
    if len(portions) == 1 and len(portions[0][1]) == 1:
        waiting = owner[id(portions[0][0])]
        waiting.calls += 1
        keys, arguments = pack_lone(portions[0], now, clock=clock, jitter=jitter)
        return [Call(node, portions, [waiting], [1, *keys, *arguments], 1, now, due)]
    made = []
    for some in calls(split(portions)):
        whose = [owner[id(ask)] for ask, _, _ in some]
        for waiting in whose:
            waiting.calls += 1
        keys, arguments = pack(some, now, clock=clock, jitter=jitter)
        size = sum([len(indices) for _, indices, _ in some])
        made.append(Call(node, some, whose, [len(keys), *keys, *arguments], size, now, due))
    return made


def scattered(queue: Iterable[Waiting], topology: Topology, now: int) -> dict[Spot, list[Portion]]:
    """Group the open charges by where their counters are.

    No script sees the counters of two slots. So charges that must pass together, and lie apart, are only looked at
    in a first round: as if they had been vetoed, each says whether it would pass. A second one charges them.
    """
    groups: dict[Spot, list[Portion]] = {}
    for waiting in queue:
        ask = waiting.ask
        spots: dict[Spot, list[int]] = {}
        for index, outcome in enumerate(ask.outcomes):
            if outcome is None:
                limit, key, _ = ask.plan.charges[index]
                if limit.rate is None:
                    raise ValueError(f"charge {index} is of an unlimited limit, which has no counter")
                spot = topology.spot(limit.rate, counter_key(key, limit.rate, now))
                spots.setdefault(spot, []).append(index)
        mode = mode_of(ask) if ask.atomic else INDEPENDENT
        if mode == ATOMIC and len(spots) > 1 and not waiting.charged:
            waiting.trial = [index for indices in spots.values() for index in indices]
            mode = VETOED
        for spot, indices in spots.items():
            groups.setdefault(spot, []).append((ask, indices, mode))
    return groups


def fill(call: Call, reply: list[Any]) -> tuple[int, list[tuple[Failure, bool]]]:
    """Fill in the outcomes that a reply holds; return when it was decided, µs, and its failures.

    With each failure comes whether it is anybody's: not of an ask that was too late, which gets its outcomes in a copy
    that nobody reads. Raises TypeError, ValueError or IndexError for what is not the script's reply.
    """
    check(reply, call.size)
    portions = call.portions
    if any(waiting.over for waiting in call.waiting):
        portions = [
            (Ask(ask.plan, ask.costs) if waiting.over else ask, indices, mode)
            for (ask, indices, mode), waiting in zip(portions, call.waiting, strict=True)
        ]
    now = unpack(reply, portions)
    if len(reply) == 1 + WIDTH * call.size:
        return now, []
    return now, [
        (outcome, not waiting.over)
        for (ask, indices, _), waiting in zip(portions, call.waiting, strict=True)
        for outcome in [ask.outcomes[index] for index in indices]
        if isinstance(outcome, Failure)
    ]


def pass_trial(waiting: Waiting) -> bool:
    """End the first round; returns whether a second one is to charge, which is when nothing binding stands against it.

    What stands against it is a denial, or a failure that fails or denies the request by its limit's policy.
    """
    if hopeless(waiting.ask):
        waiting.trial = ()
        return False
    drop_trial(waiting)
    waiting.charged = None in waiting.ask.outcomes
    return waiting.charged


def drop_trial(waiting: Waiting) -> None:
    """Open what was only found to be possible; a denial stands."""
    outcomes = waiting.ask.outcomes
    for index in waiting.trial:
        outcome = outcomes[index]
        if isinstance(outcome, Decision) and outcome.allowed:
            outcomes[index] = None
    waiting.trial = ()


def hopeless(ask: Ask) -> bool:
    """Whether a binding charge was denied, or failed where its limit's policy lets nothing pass."""
    return any(
        not outcome.allowed if isinstance(outcome, Decision) else charge.limit.on_store_failure in FATAL
        for charge, outcome in zip(ask.plan.charges, ask.outcomes, strict=True)
        if charge.binding and outcome is not None
    )


def torn(waiting: Waiting) -> bool:
    """Whether its second round charged a part of what must pass together: the rest was denied meanwhile, or failed."""
    ask = waiting.ask
    kept = [isinstance(outcome, Decision) and outcome.allowed for outcome in ask.outcomes]
    charged = any(keep and cost > 0 for keep, cost in zip(kept, ask.costs, strict=True))
    missing = any(charge.binding and not keep for charge, keep in zip(ask.plan.charges, kept, strict=True))
    return charged and missing


def hand_on(finished: Iterable[Waiting]) -> None:
    """Hand these asks on unless they were before, those of one ``done`` as one group."""
    groups: dict[Done, list[Ask]] = {}
    for waiting in finished:
        if not waiting.over:
            waiting.over = True
            groups.setdefault(waiting.done, []).append(waiting.ask)
    for done, group in groups.items():
        try:
            done(group)
        except Exception:
            log.exception("an answer could not be given")
