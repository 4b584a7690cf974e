"""``envoy.service.ratelimit.v3.RateLimitService``: a batch of calls in, each answered on its own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from ratelimitd.limiter import (
    Answer,
    AnswerOptions,
    Ask,
    Engine,
    Plan,
    Tallies,
    answer,
    tally,
)
from ratelimitd.transport import Call, GrpcStatus

from .decode import Bounds, RequestError, decode
from .encode import EncodeOptions, response

log = structlog.stdlib.get_logger(__name__)

SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
NOT_LOADED = "no rate limit configuration loaded"


class Counts(Protocol):
    """What the service counts of itself."""

    service_error: int
    redis_error: int
    global_shadow_mode: int

    def called(self, method: str, seconds: float, calls: int) -> None:
        """So many calls were answered, each after so long."""


class ServiceOptions(NamedTuple):
    """How requests are decided and answered.

    Attributes:
        budget: µs a store may take, from the arrival of the call.
        margin: µs before the caller's own deadline by which its answer must be under way.
    """

    bounds: Bounds = Bounds()
    answer: AnswerOptions = AnswerOptions()
    encode: EncodeOptions = EncodeOptions()
    budget: int = 15_000
    margin: int = 3_000


class Decided(NamedTuple):
    """A decision, for whoever listens to each of them (``LOG_DECISIONS``)."""

    plan: Plan
    answer: Answer


class RateLimitService:
    """Takes calls through decode, plan, guards, store and answer."""

    def __init__(
        self,
        engine: Engine,
        tallies: Tallies,
        counts: Counts,
        options: ServiceOptions,
        listener: Callable[[Decided], None] | None = None,
    ) -> None:
        self._engine = engine
        self._tallies = tallies
        self._counts = counts
        self._options = options
        self._listener = listener
        self._clock = asyncio.get_running_loop().time

    def should_rate_limit(self, calls: Sequence[Call]) -> None:
        """Answer each gRPC call, now or when its store has answered; never raises."""
        refused = len(calls) - self.decide(calls, self._called)
        if refused:
            self._called(0.0, refused)

    def decide(self, calls: Sequence[Call], answered: Callable[[float, int], None] = lambda _s, _n: None) -> int:
        """Answer each call; returns how many went to the store. ``answered`` is told (seconds, calls) of those.

        Never raises: whatever happens, each call gets an answer.
        """
        began = time.perf_counter()
        asks = self._asks(calls)

        def completed(group: Sequence[Ask]) -> None:
            for ask in group:
                try:
                    self._answer(ask)
                except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be answered
                    self._fault(ask.tag, error)
            answered(time.perf_counter() - began, len(group))

        def failed(group: Sequence[Ask], error: Exception) -> None:
            for ask in group:
                self._fault(ask.tag, error)

        if asks:
            self._engine.decide(asks, time.time_ns() // 1000, completed, failed)
        return len(asks)

    def _called(self, seconds: float, calls: int) -> None:
        self._counts.called("ShouldRateLimit", seconds, calls)

    def _asks(self, calls: Sequence[Call]) -> list[Ask]:
        """Plan the calls; one that cannot be is answered here, and a fault of ours stays with the call that met it."""
        arrived = self._clock()
        asks: list[Ask] = []
        for call in calls:
            try:
                ask = self._ask(call, arrived)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be answered
                self._fault(call, error)
            else:
                if ask is not None:
                    asks.append(ask)
        return asks

    def _ask(self, call: Call, arrived: float) -> Ask | None:
        """Decode and plan; a request that cannot be is answered here."""
        planner = self._engine.planner
        if planner is None:
            self._counts.service_error += 1
            call.fail(GrpcStatus.UNAVAILABLE, NOT_LOADED)
            return None
        body = call.body
        plan = planner.recall(body)
        if plan is None:
            try:
                plan = planner.plan(decode(body, self._options.bounds))
            except RequestError as error:
                self._counts.service_error += 1
                call.fail(GrpcStatus.INVALID_ARGUMENT, str(error))
                return None
            planner.remember(body, plan, len(body))
        if not plan.known_domain:
            self._unknown_domain(plan)
        deadline = int(arrived * 1_000_000) + self._options.budget
        if call.deadline:
            deadline = min(deadline, call.deadline - self._options.margin)
        return Ask(plan, list(plan.costs), atomic=plan.atomic, deadline=deadline, tag=call)

    def _fault(self, call: Call, error: Exception) -> None:
        """UNAVAILABLE, so that ``failure_mode_deny`` decides."""
        self._counts.service_error += 1
        log.error("a call met a fault of ours", exc_info=error)
        call.fail(GrpcStatus.UNAVAILABLE, "internal error")

    def _unknown_domain(self, plan: Plan) -> None:
        domain = plan.request.domain.decode(errors="replace")
        if self._tallies.unknown_domain(domain, len(plan.request.descriptors)):
            log.warning("unknown domain, every request for it passes", domain=domain)

    def _answer(self, ask: Ask) -> None:
        plan, call = ask.plan, ask.tag
        tally(ask)
        decided = answer(plan, ask.outcomes, self._options.answer)
        self._counts.global_shadow_mode += decided.shadowed
        if self._listener is not None:
            self._listener(Decided(plan, decided))
        if decided.failure is not None:
            self._counts.redis_error += 1
            call.fail(GrpcStatus.UNAVAILABLE, f"{decided.failure.kind}: {decided.failure.message}")
            return
        call.respond(response(plan, decided, self._options.encode))
