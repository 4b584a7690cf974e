"""A request's head, taken from what a client has sent so far. Pure."""

from .heads import hopeless
from .judged import judge_request
from .model import Framed, Refusal, RequestHead
from .options import ServerOptions


def take_head(data: bytes, options: ServerOptions) -> tuple[RequestHead, Framed, bytes] | Refusal | None:
    """Take the head at the beginning of ``data``; returns it and what is behind it, or None while it is not whole."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or end > options.max_head:
        return _unfinished(data, options)
    judged = judge_request(data[:end])
    if isinstance(judged, Refusal):
        return judged
    head, framed = judged
    if len(head.target) > options.max_target:
        return Refusal(414, "request target is too long")
    if len(head.headers) > options.max_headers:
        return Refusal(431, "too many headers")
    if framed.length > options.max_body:
        return Refusal(413, "request body is too large")
    return head, framed, data[end:]


def _unfinished(data: bytes, options: ServerOptions) -> Refusal | None:
    """Say why a head will not be waited for, if it will not."""
    if len(data) > options.max_target and b"\r\n" not in data[: options.max_target + 32]:
        return Refusal(414, "request target is too long")
    if len(data) > options.max_head:
        return Refusal(431, "request head is too long")
    flaw = hopeless(data)
    return Refusal(400, flaw) if flaw else None
