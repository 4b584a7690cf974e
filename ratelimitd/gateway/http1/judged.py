"""Heads judged, and remembered: programs say the same again and again, and so do their servers within a second.

Judging takes a fifth of a request's time. It is pure, so a head that was judged before need not be again.
"""

from typing import Generic, TypeVar

from .framing import FramedResponse, frame_request, frame_response
from .heads import parse_request, parse_response
from .model import Framed, Refusal, RequestHead, ResponseHead

T = TypeVar("T")
MAX_HEADS = 1024
MAX_HEAD_BYTES = 1024
"""Heads remembered, and the longest one: 4 MiB at most, for both memories, with what was made of them."""


class _Memory(Generic[T]):
    """What was made of some bytes; forgets everything when it is full, which a flood of new heads costs little."""

    def __init__(self) -> None:
        self._known: dict[bytes, T] = {}
        self.get = self._known.get

    def keep(self, raw: bytes, judged: T) -> None:
        if len(raw) <= MAX_HEAD_BYTES:
            if len(self._known) >= MAX_HEADS:
                self._known.clear()
            self._known[raw] = judged


_requests: _Memory[tuple[RequestHead, Framed]] = _Memory()
_responses: _Memory[tuple[ResponseHead, FramedResponse]] = _Memory()


def judge_request(raw: bytes) -> tuple[RequestHead, Framed] | Refusal:
    """Parse and frame a request's head. What it returns is shared and not to be changed."""
    judged = _requests.get(raw)
    if judged is not None:
        return judged
    head = parse_request(raw)
    if isinstance(head, Refusal):
        return head
    framed = frame_request(head)
    if isinstance(framed, Refusal):
        return framed
    _requests.keep(raw, (head, framed))
    return head, framed


def judge_response(method: bytes, raw: bytes) -> tuple[ResponseHead, FramedResponse] | Refusal:
    """Parse and frame the head of a response to ``method``. What it returns is shared and not to be changed."""
    judged = _responses.get(raw) if method != b"HEAD" else None  # HEAD alone changes what a head means
    if judged is not None:
        return judged
    head = parse_response(raw)
    if isinstance(head, Refusal):
        return head
    framed = frame_response(method, head)
    if isinstance(framed, Refusal):
        return framed
    if method != b"HEAD":
        _responses.keep(raw, (head, framed))
    return head, framed
