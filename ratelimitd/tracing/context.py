"""The trace context of a request: read from its headers, decided, and written for the request that follows.

W3C Trace Context (traceparent, tracestate) and B3 with one header or several. traceparent goes before B3. Baggage names
no parent: it is neither read nor changed. What is malformed counts as absent, since nothing a caller sends may fail its
call.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
B3: Final = "b3"
B3_TRACE: Final = "x-b3-traceid"
B3_SPAN: Final = "x-b3-spanid"
B3_PARENT: Final = "x-b3-parentspanid"
B3_SAMPLED: Final = "x-b3-sampled"
B3_FLAGS: Final = "x-b3-flags"

NAMES: Final = frozenset((TRACEPARENT, TRACESTATE, B3, B3_TRACE, B3_SPAN, B3_PARENT, B3_SAMPLED, B3_FLAGS))
"""The headers that are read, in lower case."""

WRITTEN: Final = frozenset(name.encode() for name in NAMES)
KEPT: Final = frozenset((TRACESTATE.encode(),))

SAMPLED: Final = 1
RANDOM: Final = 2
"""Bits of the flags of W3C Trace Context, level 2: that a trace id is random is passed on by every participant."""

STATE_MOST: Final = 512
"""Characters of tracestate that a span keeps: what the specification asks participants to pass on at least."""

_W3C: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_B3: Final = re.compile(rb"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?", re.IGNORECASE)
_TRACE: Final = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{16}", re.IGNORECASE)
_SPAN: Final = re.compile(rb"[0-9a-f]{16}", re.IGNORECASE)
_DECISIONS: Final[Mapping[bytes, bool]] = {
    b"0": False, b"1": True, b"d": True, b"D": True, b"false": False, b"true": True,
}  # fmt: skip

Found = Mapping[str, Sequence[bytes]]
"""Values of headers by name in lower case; a name may occur more than once."""


class Parent(NamedTuple):
    """What a request says about its trace.

    Attributes:
        trace_id, span_id: in hexadecimal; empty if only whether to sample was said.
        flags: those of W3C Trace Context without the decision.
        sampled: the decision; None if it was left to this process.
        state: text of tracestate.
    """

    trace_id: str
    span_id: str
    sampled: bool | None
    flags: int = 0
    state: str = ""


class Context(NamedTuple):
    """The identity of a span.

    Attributes:
        parent_id: empty for the first span of a trace.
        remote: whether the parent is another process's.
    """

    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    state: str = ""
    remote: bool = True

    @property
    def sampled(self) -> bool:
        """Whether the span is recorded."""
        return self.flags & SAMPLED != 0

    def child(self) -> "Context":
        """Return the context of a new span below this one."""
        return Context(self.trace_id, _new(64), self.span_id, self.flags, self.state, remote=False)


class Sampler:
    """Follows the parent's decision; without one, samples this share of traces by their id, as OpenTelemetry's SDKs."""

    def __init__(self, rate: float) -> None:
        self._bound = round(rate * (1 << 64))

    def begin(self, parent: Parent | None) -> Context:
        """Return the context of the first span of this process in the trace."""
        trace_id = parent.trace_id if parent is not None and parent.trace_id else _new(128)
        sampled = None if parent is None else parent.sampled
        if sampled is None:
            sampled = int(trace_id[16:], 16) < self._bound
        flags = (0 if parent is None else parent.flags) | (SAMPLED if sampled else 0)
        if parent is None:
            return Context(trace_id, _new(64), "", flags)
        return Context(trace_id, _new(64), parent.span_id, flags, parent.state)


def extract(found: Found) -> Parent | None:
    """Return the parent that headers name, or None."""
    if not found:
        return None
    return _from_traceparent(found) or _from_b3(found) or _from_many(found)


def inject(context: Context, found: Found) -> tuple[frozenset[bytes], list[tuple[bytes, bytes]]]:
    """Return what makes ``context`` the parent of a request's next one: the headers to remove, and those to add.

    The names of the former are in lower case.

    traceparent is always added. B3 is written in the form that the request has, since a reader of B3 alone would see
    an older parent. tracestate stays if it belongs to the trace.
    """
    trace, span, decision = context.trace_id.encode(), context.span_id.encode(), b"%d" % context.sampled
    added = [(b"traceparent", b"00-%b-%b-%02x" % (trace, span, context.flags))]
    if B3 in found:
        added.append((b"b3", b"%b-%b-%b" % (trace, span, decision)))
    if B3_TRACE in found or B3_SAMPLED in found:
        added += ((b"X-B3-TraceId", trace), (b"X-B3-SpanId", span), (b"X-B3-Sampled", decision))
    return WRITTEN - KEPT if _from_traceparent(found) is not None else WRITTEN, added


def _new(bits: int) -> str:
    """Return an id. It must be unique, but need not be unpredictable; all zeros would be none."""
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"


def _only(found: Found, name: str) -> bytes:
    """Return the value of a header that occurs once, else nothing: which of several is meant cannot be told."""
    values = found.get(name, ())
    return values[0].strip() if len(values) == 1 else b""


def _from_traceparent(found: Found) -> Parent | None:
    parts = _W3C.fullmatch(_only(found, TRACEPARENT))
    if parts is None or (parts[1] == b"00" and parts[5] is not None):
        return None
    flags = int(parts[4], 16)
    state = ",".join(value.decode("latin-1") for value in found.get(TRACESTATE, ()))
    return Parent(
        parts[2].decode(),
        parts[3].decode(),
        flags & SAMPLED != 0,
        flags & RANDOM,
        state if len(state) <= STATE_MOST else "",
    )


def _from_b3(found: Found) -> Parent | None:
    value = _only(found, B3)
    if value in _DECISIONS:
        return Parent("", "", _DECISIONS[value])
    parts = _B3.fullmatch(value)
    return None if parts is None else _b3(parts[1], parts[2], None if parts[3] is None else _DECISIONS[parts[3]])


def _from_many(found: Found) -> Parent | None:
    decision = True if _only(found, B3_FLAGS) == b"1" else _DECISIONS.get(_only(found, B3_SAMPLED).lower())
    trace, span = _only(found, B3_TRACE), _only(found, B3_SPAN)
    named = _b3(trace, span, decision) if _TRACE.fullmatch(trace) and _SPAN.fullmatch(span) else None
    return Parent("", "", decision) if named is None and decision is not None else named


def _b3(trace: bytes, span: bytes, decision: bool | None) -> Parent | None:
    trace_id, span_id = trace.decode().lower().rjust(32, "0"), span.decode().lower()
    return Parent(trace_id, span_id, decision) if int(trace_id, 16) and int(span_id, 16) else None
