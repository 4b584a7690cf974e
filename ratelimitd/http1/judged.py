"""Heads judged, and remembered: programs say the same again and again, and so do their servers within a second.

Judging takes a third of a request's time. It is pure, so a head that was judged before need not be again.
"""

from typing import Generic, TypeVar

from .framing import FramedResponse, frame_request, frame_response
from .heads import parse_request, parse_response
from .model import Framed, Refusal, RequestHead, ResponseHead

T = TypeVar("T")
MAX_HEADS = 1024
MAX_HEAD_BYTES = 1024
"""Heads remembered, and the longest one: 4 MiB at most, for both memories, with what was made of them."""
MAX_SEEN = 4096
"""Heads of which it is known that they came once."""


class _Memory(Generic[T]):
    """What was made of heads that came more than once lately; forgets everything when it is full.

    What comes once leaves a number behind and nothing else: keeping it all would make the garbage collector look at it
    again and again, which cost more than judging where no two heads are alike.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, T] = {}
        self._seen: set[int] = set()
        self.get = self._known.get

    def keep(self, raw: bytes, judged: T) -> None:
        mark = hash(raw)
        if mark not in self._seen:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(mark)
        elif len(raw) <= MAX_HEAD_BYTES:
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
