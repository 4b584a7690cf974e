"""Spans of calls: handlers around those of the service, which stay as they are.

A face of its own: a process without TRACING_ENABLED does not import it. A call that is not sampled is passed on as it
is.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, overload

from ratelimitd.limiter import Answer, Ask, Engine
from ratelimitd.tracing import Attributes, Context, Kind, Span, Tracer, extract
from ratelimitd.transport import BatchHandler, Call, GrpcStatus, Handlers

from .service import SHOULD_RATE_LIMIT, WITH_REASON

METHODS: Final = (SHOULD_RATE_LIMIT, WITH_REASON)
"""The methods that are traced; probes and reflection are not."""

ERRORS: Final = frozenset(
    (GrpcStatus.UNKNOWN, GrpcStatus.DEADLINE_EXCEEDED, GrpcStatus.INTERNAL, GrpcStatus.UNAVAILABLE)
)
"""What the semantic conventions call an error of the server, of the statuses that it answers with."""

Finished = Callable[["TracedCall", GrpcStatus, str], None]


class TracedCall:
    """A call that is sampled. It is the service's ``Call``, and tells its end.

    Attributes:
        began: nanoseconds of the monotonic clock.
        decided: the decision; None if there was none.
    """

    __slots__ = ("_call", "_finished", "began", "context", "decided")

    def __init__(self, call: Call, context: Context, finished: Finished) -> None:
        self._call = call
        self._finished: Finished | None = finished
        self.context = context
        self.began = time.monotonic_ns()
        self.decided: tuple[Ask, Answer] | None = None

    @property
    def body(self) -> bytes:
        """The request message."""
        return self._call.body

    @property
    def deadline(self) -> int:
        """Deadline of the call; 0 if it has none."""
        return self._call.deadline

    @property
    def metadata(self) -> Mapping[str, Sequence[bytes]]:
        """Request headers."""
        return self._call.metadata

    @property
    def answered(self) -> bool:
        """Whether no response can be sent."""
        return self._call.answered

    def respond(self, body: bytes) -> None:
        """Complete the call, and tell its end."""
        over = self._over()
        self._call.respond(body)
        self._end(over or GrpcStatus.OK, "")

    def fail(self, status: GrpcStatus, message: str) -> None:
        """Complete the call with an error, and tell its end."""
        over = self._over()
        self._call.fail(status, message)
        self._end(over or status, message)

    def _over(self) -> GrpcStatus | None:
        """Return how the call ended before its answer; None: it did not."""
        if not self._call.answered:
            return None
        late = self._call.deadline and time.monotonic_ns() // 1000 >= self._call.deadline
        return GrpcStatus.DEADLINE_EXCEEDED if late else GrpcStatus.CANCELLED

    def _end(self, status: GrpcStatus, message: str) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(self, status, message)


class _Calls(Sequence[Call]):
    """Calls that are wrapped when the service takes them: those that it leaves are passed to it again."""

    def __init__(self, calls: Sequence[Call], traced: Callable[[Call], Call]) -> None:
        self._calls = calls
        self._traced = traced

    def __len__(self) -> int:
        return len(self._calls)

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Call]: ...
    def __getitem__(self, index: int | slice) -> Call | Sequence[Call]:
        if isinstance(index, slice):
            return _Calls(self._calls[index], self._traced)
        return self._traced(self._calls[index])

    def __iter__(self) -> Iterator[Call]:
        return map(self._traced, self._calls)


class CallTracer:
    """Makes the handlers, and listens to the decisions.

    Args:
        port: of the listener; 0 on a unix socket.
    """

    def __init__(self, tracer: Tracer, engine: Engine, port: int) -> None:
        self._tracer = tracer
        self._engine = engine
        self._server: Attributes = {"server.address": tracer.host} | ({"server.port": port} if port else {})

    def handlers(self, served: Handlers) -> Handlers:
        """Return handlers that trace the calls of Envoy's API."""
        traced = {method: self._handler(method, served.unary[method]) for method in METHODS}
        return served._replace(unary={**served.unary, **traced})

    def decided(self, ask: Ask, answer: Answer) -> None:
        """Note the decision of a call; a listener of the engine."""
        if type(ask.tag) is TracedCall:
            ask.tag.decided = ask, answer

    def _handler(self, method: str, handle: BatchHandler) -> BatchHandler:
        name = method[1:]
        base: Attributes = {"rpc.system.name": "grpc", "rpc.method": name, **self._server}
        traced = partial(self._traced, partial(self._finished, name, base))

        def handler(calls: Sequence[Call], room: int) -> tuple[int, int]:
            return handle(_Calls(calls, traced), room)

        return handler

    def _traced(self, finished: Finished, call: Call) -> Call:
        context = self._tracer.begin(extract(call.metadata))
        return TracedCall(call, context, finished) if context.sampled else call

    def _finished(self, name: str, base: Attributes, call: TracedCall, status: GrpcStatus, message: str) -> None:
        self._tracer.record(partial(self._span, name, base, call, status, message))

    def _span(self, name: str, base: Attributes, call: TracedCall, status: GrpcStatus, message: str) -> Span:
        ended = time.time_ns()
        began = ended - (time.monotonic_ns() - call.began)
        found: dict[str, str | int | bool] = {**base, "rpc.response.status_code": status.name}
        if call.decided is not None:
            found.update(self._tracer.decision(*call.decided, self._engine.modes))
        if status in ERRORS:
            found["error.type"] = status.name
        return Span(name, Kind.SERVER, call.context, began, ended, found, message if status in ERRORS else None)
