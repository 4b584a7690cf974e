"""``envoy.service.ratelimit.v3.RateLimitService``: a batch of calls in, each answered on its own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from ratelimitd.algorithms import SECOND
from ratelimitd.limiter import Answer, Ask, Done, Engine, NoPolicyError, Plan, Tallies
from ratelimitd.observe.logs import get_logger
from ratelimitd.transport import Call, GrpcStatus

from .decode import Bounds, RequestError, decode
from .encode import EncodeOptions, response

log = get_logger(__name__)

SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
NOT_LOADED = "no rate limit configuration loaded"

Called = Callable[[str, float, int], None]
"""Counts calls of a method that were answered: its name, the seconds that each took, and how many they are."""

Listener = Callable[[Plan, Answer], None]
"""Hears of each decision (``LOG_DECISIONS``)."""


class ServiceOptions(NamedTuple):
    """How requests are decided and answered.

    Attributes:
        budget: µs a store may take, from the arrival of the call.
        margin: µs before the caller's own deadline by which its answer must be under way.
    """

    bounds: Bounds = Bounds()
    encode: EncodeOptions = EncodeOptions()
    budget: int = 15_000
    margin: int = 3_000


class RateLimitService:
    """Takes calls through decode, the engine and encode."""

    def __init__(
        self,
        engine: Engine,
        tallies: Tallies,
        called: Called,
        options: ServiceOptions,
        listener: Listener | None = None,
    ) -> None:
        self._engine = engine
        self._tallies = tallies
        self._called = called
        self._options = options
        self._modes = engine.modes
        self._decode = partial(decode, bounds=options.bounds)
        self._listener = listener
        self._clock = asyncio.get_running_loop().time

    def should_rate_limit(self, calls: Sequence[Call]) -> None:
        """Answer each gRPC call, now or when its store has answered; never raises."""
        began = time.perf_counter()

        def done(group: Sequence[Ask]) -> None:
            self._called("ShouldRateLimit", time.perf_counter() - began, len(group))

        refused = len(calls) - self.serve(calls, done)
        if refused:
            self._called("ShouldRateLimit", 0.0, refused)

    def serve(self, calls: Sequence[Call], done: Done = lambda _: None) -> int:
        """Answer each call; returns how many went to the store, and tells ``done`` of those.

        Never raises: whatever happens, each call gets an answer.
        """
        asks = self._asks(calls)
        if asks:
            self._engine.decide(asks, time.time_ns() // 1000, self._answer, self._fail, done)
        return len(asks)

    def _asks(self, calls: Sequence[Call]) -> list[Ask]:
        """Plan the calls; one that cannot be is answered here, and an error stays with the call that met it."""
        due = int(self._clock() * SECOND) + self._options.budget
        asks: list[Ask] = []
        for call in calls:
            try:
                asks.append(self._ask(call, due))
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be answered
                self._fail(call, error)
        return asks

    def _ask(self, call: Call, deadline: int) -> Ask:
        if call.deadline:
            deadline = min(deadline, call.deadline - self._options.margin)
        ask = self._engine.ask(call.body, self._decode, deadline, call)
        if not ask.plan.known_domain:
            self._unknown_domain(ask.plan)
        return ask

    def _unknown_domain(self, plan: Plan) -> None:
        domain = plan.request.domain.decode(errors="replace")
        if self._tallies.unknown_domain(domain, len(plan.request.descriptors)):
            log.warning("unknown domain; its requests are not limited", domain=domain)

    def _answer(self, ask: Ask, answer: Answer) -> None:
        if self._listener is not None:
            self._listener(ask.plan, answer)
        call: Call = ask.tag
        if answer.failure is not None:
            call.fail(GrpcStatus.UNAVAILABLE, f"{answer.failure.kind}: {answer.failure.message}")
            return
        call.respond(response(ask.plan, answer, self._options.encode, self._modes))

    def _fail(self, call: Call, error: Exception) -> None:
        """A bad request is its caller's error; all else is UNAVAILABLE, so that ``failure_mode_deny`` decides."""
        if isinstance(error, RequestError):
            call.fail(GrpcStatus.INVALID_ARGUMENT, str(error))
        elif isinstance(error, NoPolicyError):
            call.fail(GrpcStatus.UNAVAILABLE, NOT_LOADED)
        else:
            log.error("unhandled error while deciding a request", exc_info=error)
            call.fail(GrpcStatus.UNAVAILABLE, "internal error")
