"""``envoy.service.ratelimit.v3.RateLimitService``: receives calls in batches and answers each separately."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from sys import maxsize
from typing import Final, NamedTuple

from ratelimitd.algorithms import SECOND
from ratelimitd.limiter import Answer, Ask, Done, Engine, LimitRequest, NoPolicyError, Plan, Tallies, reason_of
from ratelimitd.observe.logs import get_logger
from ratelimitd.transport import Call, GrpcStatus

from .decode import Bounds, RequestError, decode
from .encode import EncodeOptions, response
from .reasons import reason_part

log = get_logger(__name__)

SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
WITH_REASON = "/ratelimitd.v1.RateLimitService/ShouldRateLimit"
"""The same method with the reason of a denial in the response, for ``ratelimitd check``: a method of its own, so that a
call of Envoy's needs no look at what it asks for."""

NOT_LOADED = "no rate limit configuration loaded"
STORE_FAILED = "no counter was charged; the log of ratelimitd has the reason"
"""Follows the kind of failure. The text of Redis or of a connection has addresses and settings, which callers need not
know: the log and the admin API have it."""

CountCalls = Callable[[str, float, int], None]
"""Counts answered calls. Arguments: method name, seconds per call, number of calls."""


MARGIN_SHARE: Final = 5
"""The margin is a fifth of the time that a caller leaves, if that is less: a caller that leaves 2 ms is served too."""


CALL_COST: Final = 2
"""Cost of a call besides its charges; the unit is the work of one charge."""

REQUEST_BYTES: Final = 64
"""Bytes of a request that cost as much as a charge: about one descriptor, looked up or refused."""

MADE_COST: Final = 3
"""Cost of the rules that are made for one request, as of a limit with a series for each value, besides the charge."""

FAILED_COST: Final = 2
"""Cost of a charge besides its own while the store fails at once: another store decides instead, or a log counts it."""


class ServiceOptions(NamedTuple):
    """Options of decoding, deciding and encoding.

    Attributes:
        budget: µs that a store may take, from the arrival of the call.
        margin: µs before the caller's deadline at which the response must be sent, at most; see ``MARGIN_SHARE``.
    """

    bounds: Bounds = Bounds()
    encode: EncodeOptions = EncodeOptions()
    budget: int = 15_000
    margin: int = 3_000


class RateLimitService:
    """Decodes calls, decides them in the engine and encodes the responses."""

    def __init__(
        self,
        engine: Engine,
        tallies: Tallies,
        called: CountCalls,
        options: ServiceOptions,
        *,
        ours: bool = False,
        looks: bool = False,
    ) -> None:
        self._engine = engine
        self._tallies = tallies
        self._count_calls = called
        self._options = options
        reasons = options.encode.reason_header or options.encode.reason_metadata
        self._answered = self._answer_with_reason if reasons else self._answer
        self._modes = engine.modes
        self._read = self._decoded_as_ours if ours else self._decoded  # bound once
        self._looks = looks
        self._clock = asyncio.get_running_loop().time
        self._charge_cost = 1

    @property
    def bounds(self) -> Bounds:
        """The bounds on a request."""
        return self._options.bounds

    def with_reason(self) -> "RateLimitService":
        """Return the service of WITH_REASON: the same engine and options, and the reason in the dynamic metadata.

        Its requests are of ``ratelimitd check``: none is in progress, so they take no holds.
        """
        encode = self._options.encode._replace(reason_metadata=True)
        return self._of_ours(self._options._replace(encode=encode), looks=True)

    def of_tools(self) -> "RateLimitService":
        """Return the service for requests of operators: an explicit 0 of theirs tells nothing about a limit."""
        return self._of_ours(self._options, looks=False)

    def _of_ours(self, options: ServiceOptions, *, looks: bool) -> "RateLimitService":
        return RateLimitService(self._engine, self._tallies, self._count_calls, options, ours=True, looks=looks)

    def should_rate_limit(self, calls: Sequence[Call], room: int = maxsize) -> tuple[int, int]:
        """Answer gRPC calls, at once or when their store has replied, until they cost ``room``. Never raises.

        Returns the number of calls that it took, and their cost.
        """
        began = time.perf_counter()
        asks, taken, cost = self._asks(calls, room)
        self._decide(asks, partial(self._counted, began))
        if len(asks) < taken:
            self._count_calls("ShouldRateLimit", 0.0, taken - len(asks))
        return taken, cost

    def _counted(self, began: float, group: Sequence[Ask]) -> None:
        self._count_calls("ShouldRateLimit", time.perf_counter() - began, len(group))

    def serve(self, calls: Sequence[Call]) -> None:
        """Answer each call, without counting it as a gRPC call.

        Never raises: each call gets a response, also after an internal error.
        """
        asks, _, _ = self._asks(calls, maxsize)
        self._decide(asks, lambda _: None)

    def _decide(self, asks: Sequence[Ask], done: Done) -> None:
        if asks:
            self._engine.decide(asks, time.time_ns() // 1000, self._answered, self._fail, done)
            self._charge_cost = 1 + FAILED_COST if asks[-1].failures else 1

    def _asks(self, calls: Sequence[Call], room: int) -> tuple[list[Ask], int, int]:
        """Plan calls until they cost ``room``; return their asks, how many calls were taken, and their cost.

        A call costs ``CALL_COST``, one for each charge, and one for each ``REQUEST_BYTES``; more if rules are made for
        it, and while the store fails. A call that cannot be planned is answered here; its error does not affect others.
        """
        now = int(self._clock() * SECOND)
        planner = self._engine.planner
        made = 0 if planner is None else planner.made
        asks: list[Ask] = []
        taken = cost = 0
        for call in calls:
            taken += 1
            cost += CALL_COST + len(call.body) // REQUEST_BYTES
            try:
                ask = self._ask(call, now)
                cost += len(ask.costs) * self._charge_cost
                asks.append(ask)
            except Exception as error:  # noqa: BLE001 -- the caller must get a response to any error
                self._fail(call, error)
            if planner is not None and planner.made != made:
                cost += MADE_COST * (planner.made - made)
                made = planner.made
            if cost >= room:
                break
        return asks, taken, cost

    def _decoded(self, body: bytes) -> LimitRequest:
        return decode(body, self._options.bounds)

    def _decoded_as_ours(self, body: bytes) -> LimitRequest:
        request = decode(body, self._options.bounds)
        request.ours = True
        request.looks = self._looks
        return request

    def _ask(self, call: Call, now: int) -> Ask:
        budget, left = self._options.budget, call.deadline - now
        if call.deadline:
            budget = min(budget, left - min(self._options.margin, left // MARGIN_SHARE))
        deadline = now + budget
        ask = self._engine.ask(call.body, self._read, deadline, call)
        if not ask.plan.known_domain:
            self._unknown_domain(ask.plan)
        return ask

    def _unknown_domain(self, plan: Plan) -> None:
        domain = plan.request.domain.decode(errors="replace")
        if self._tallies.unknown_domain(domain, len(plan.request.descriptors)):
            log.warning("unknown domain; its requests are not limited", domain=domain)

    def _answer(self, ask: Ask, answer: Answer) -> None:
        call: Call = ask.tag
        if answer.failure is not None:
            call.fail(GrpcStatus.UNAVAILABLE, f"{answer.failure.kind}: {STORE_FAILED}")
            return
        if len(answer.lease) > 0:
            self._release_unless_awaited(ask, call)
        call.respond(response(ask.plan, answer, self._options.encode, self._modes))

    def _answer_with_reason(self, ask: Ask, answer: Answer) -> None:
        call: Call = ask.tag
        encode, modes = self._options.encode, self._modes
        if answer.failure is not None:
            reason = reason_of(ask, answer, modes)
            call.fail(GrpcStatus.UNAVAILABLE, f"{reason and reason.sentence}: {STORE_FAILED}")
            return
        if len(answer.lease) > 0:
            self._release_unless_awaited(ask, call)
        call.respond(response(ask.plan, answer, encode, modes) + reason_part(ask, answer, encode, modes))

    def _release_unless_awaited(self, ask: Ask, call: Call) -> None:
        """Release the holds of a call that its caller cancelled meanwhile: no answer can carry the lease to it."""
        if call.answered:
            self._engine.release(ask, time.time_ns() // 1000)

    def _fail(self, call: Call, error: Exception) -> None:
        """INVALID_ARGUMENT for an invalid request; UNAVAILABLE for all else, so that ``failure_mode_deny`` decides."""
        if isinstance(error, RequestError):
            call.fail(GrpcStatus.INVALID_ARGUMENT, str(error))
        elif isinstance(error, NoPolicyError):
            call.fail(GrpcStatus.UNAVAILABLE, NOT_LOADED)
        else:
            log.error("unhandled error while deciding a request", exc_info=error)
            call.fail(GrpcStatus.UNAVAILABLE, "internal error")
