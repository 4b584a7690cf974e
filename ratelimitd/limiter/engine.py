"""The engine: the only path from a request to its answer, for every edge of a process. Start reading here.

An edge (Envoy's API, the gateway, the simulator) calls ``ask`` for each request of a batch, then ``decide`` for the
batch. Time is an argument. An error is passed to the edge, which logs it and answers its caller.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from .answer import Answer, answer, tally
from .holding import count_holds, lease, release, renewal
from .modes import ENFORCED, Modes
from .plan import Planner
from .seam import Ask, Done, Guard, LimitRequest, Plan, Store, Watcher

Encoded = TypeVar("Encoded")
"""A request as an edge has it."""

Answered = Callable[[Ask, Answer], None]
"""Passes an answer to the caller of an ask; called once for each."""

Listener = Callable[[Ask, Answer], None]
"""Receives each decision before the caller does."""

Failed = Callable[[Any, Exception], None]
"""Reports to a caller, by its ask's tag, that its request could not be decided."""


class Counts(Protocol):
    """Counters of the engine besides those of limits; the names are envoyproxy/ratelimit's.

    Attributes:
        service_error: requests that could not be decided: no policy, an invalid request, an unhandled error.
        redis_error: requests that failed because of the store.
        global_shadow_mode: answers that SHADOW_MODE turned to OK.
    """

    service_error: int
    redis_error: int
    global_shadow_mode: int


class NoPolicyError(Exception):
    """No policy has been loaded yet."""


class Engine:
    """The parts that a decision needs.

    Attributes:
        planner: planner of the active policy; None until the first policy is loaded. A reload replaces it.
        store: store of the counters.
        guards: guards in front of the store, outermost first.
        modes: SHADOW_MODE and QUOTA_MODE, equal to the planner's.
        listener: receives each decision; None while nothing listens.
        watcher: sees a sample of the decisions; None: nothing does.
        decided_ok, decided_over, decided_failed: requests that passed, were over limit, or failed because of the store.
    """

    __slots__ = (
        "_counts",
        "decided_failed",
        "decided_ok",
        "decided_over",
        "guards",
        "listener",
        "modes",
        "planner",
        "store",
        "watcher",
    )

    def __init__(self, store: Store, counts: Counts, guards: Sequence[Guard] = (), modes: Modes = ENFORCED) -> None:
        self.planner: Planner | None = None
        self.store = store
        self.guards = guards
        self.modes = modes
        self.listener: Listener | None = None
        self.watcher: Watcher | None = None
        self.decided_ok = self.decided_over = self.decided_failed = 0
        self._counts = counts

    def ask(self, encoded: Encoded, read: Callable[[Encoded], LimitRequest], deadline: int = 0, tag: Any = None) -> Ask:
        """Plan a request, which ``read`` decodes.

        See ``Ask`` for ``deadline`` and ``tag``. Raises NoPolicyError, and the errors of ``read``.
        """
        planner = self.planner
        if planner is None:
            self._counts.service_error += 1
            raise NoPolicyError
        try:
            plan = planner.plan(read(encoded))
        except Exception:
            self._counts.service_error += 1
            raise
        return Ask(plan, plan.costs, atomic=plan.atomic, deadline=deadline, tag=tag)

    def ask_again(self, plan: Plan, deadline: int = 0, tag: Any = None) -> Ask:
        """Ask for an equal request what ``plan`` asks, which the active planner made, and which ``repeats``."""
        return Ask(plan, plan.costs.copy(), atomic=plan.atomic, deadline=deadline, tag=tag)

    def decide(
        self, asks: Sequence[Ask], now: int, answered: Answered, failed: Failed, done: Done = lambda _: None
    ) -> None:
        """Pass asks through the guards and the store, and answer each when its own last charge is complete.

        ``now`` is wall-clock µs. Each ask is passed to ``answered``, or to ``failed`` if a guard, the store or
        ``answered`` raised, so no caller waits forever. ``done`` is called after each group of asks that completed
        together.
        """
        try:
            post_paid = None if self.planner is None else self.planner.post_paid
            if post_paid is not None and (post_paid.questions or now >= post_paid.due):
                post_paid.weigh(self.store, now)
            for guard in self.guards:
                guard.before(asks, now)
            self.store.charge(asks, now, partial(self._completed, now, answered, failed, done))
        except Exception as error:  # noqa: BLE001 -- callers must be answered after any error
            self._fail(asks, failed, error)

    def _completed(self, now: int, answered: Answered, failed: Failed, done: Done, asks: Sequence[Ask]) -> None:
        """Answer asks that the store has completed; an error affects only its own ask."""
        try:
            for guard in reversed(self.guards):
                guard.after(asks, now)
        except Exception as error:  # noqa: BLE001 -- as above
            self._fail(asks, failed, error)
            self._give_up(asks, now)
            return
        for ask in asks:
            try:
                result = answer(ask.plan, ask.outcomes, self.modes)
                if not (ask.waits and result.over):
                    self.count(ask, result, now)
                answered(ask, result)
            except Exception as error:  # noqa: BLE001 -- the others of the batch must be answered
                self._fail((ask,), failed, error)
                self._give_up((ask,), now)
        done(asks)

    def count(self, ask: Ask, result: Answer, now: int) -> None:
        """Count a decision, and pass it to the listener. An edge calls this for a denial that it does not wait out."""
        if result.over:
            self.decided_over += 1
        elif result.failure is None:
            self.decided_ok += 1
        else:
            self.decided_failed += 1
        refused = tally(ask, self.watcher, now)
        if refused is not None and self.planner is not None:
            self.planner.post_paid.refused(ask, refused, now)
        if len(ask.plan.call) > 0:  # the truth of bytes is a call
            self._hold(ask, result, now)
        self._counts.global_shadow_mode += result.shadowed
        self._counts.redis_error += result.failure is not None
        if self.listener is not None:
            self.listener(ask, result)

    def _hold(self, ask: Ask, result: Answer, now: int) -> None:
        """Answer with the lease of the holds that an ask took; those of a request that does not pass are released."""
        count_holds(ask)
        if result.over or result.shadowed or result.failure is not None:
            self.release(ask, now)
        else:
            result.lease = lease(ask)

    def release(self, ask: Ask, now: int) -> None:
        """Release the holds that an ask took, since its request is over. Nothing waits for that."""
        asked = release(ask)
        if asked is None:
            return
        for guard in self.guards:
            guard.before((asked,), now)
        self.store.charge((asked,), now, partial(self._released, now))

    def renew(self, asks: Iterable[tuple[Ask, Any]], now: int, done: Done) -> None:
        """Have the holds that asks took expire later, since their requests are still in progress.

        Each comes with the tag that its renewal has when ``done`` gets it. One that fails is not kept: it would be
        made when the request is over. So no guard sees it.
        """
        renewals: list[Ask] = []
        for ask, tag in asks:
            renewed = renewal(ask, tag)
            if renewed is not None:
                renewals.append(renewed)
        self.store.charge(renewals, now, done)

    def _give_up(self, asks: Sequence[Ask], now: int) -> None:
        """Release what asks hold that failed after the store had decided, as far as that is possible."""
        for ask in asks:
            if len(ask.plan.call) > 0:
                with suppress(Exception):  # the error that made them fail was reported
                    self.release(ask, now)

    def _released(self, now: int, asks: Sequence[Ask]) -> None:
        for guard in reversed(self.guards):
            guard.after(asks, now)

    def _fail(self, asks: Sequence[Ask], failed: Failed, error: Exception) -> None:
        for ask in asks:
            self._counts.service_error += 1
            failed(ask.tag, error)
