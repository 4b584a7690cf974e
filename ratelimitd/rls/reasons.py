"""The reason of a denial or failure in a response: a header, and dynamic metadata.

Both are in addition to the parts of ``encode``: concatenated messages are merged by the parser. ``code`` and
``limitName`` of a descriptor are those of envoyproxy/ratelimit's pull request 1239.
"""

from collections.abc import Mapping

from ratelimitd.algorithms import HoldDecision
from ratelimitd.limiter import (
    Answer,
    Ask,
    DescriptorStatus,
    Item,
    Modes,
    Reason,
    descriptor_reason,
    reason_of,
    structured_string,
)
from ratelimitd.proto import message

from .encode import EncodeOptions, described

_Response = message("envoy.service.ratelimit.v3.RateLimitResponse")

_UNKNOWN_DOMAIN = bytes(_Response(dynamic_metadata={"unknown_domain": True}).SerializeToString())
"""The domain of a request that the policy does not have; nothing of such a request is limited."""

SHADOWED = "; SHADOW_MODE let it pass"


def reason_part(ask: Ask, answer: Answer, options: EncodeOptions, modes: Modes) -> bytes:
    """Return the part of a response that says why; empty for a request that every limit allowed by its counter.

    Metadata also says that the policy does not have the domain; to a look of ``ratelimitd check``, what is held.
    """
    if options.reason_metadata and not ask.plan.known_domain:
        return _UNKNOWN_DOMAIN
    reason = reason_of(ask, answer, modes)
    held = held_of(ask) if ask.plan.call and ask.plan.request.looks else []
    if reason is None and not held:
        return b""
    built = _Response()
    if held:
        built.dynamic_metadata.update({"held": held})
    if reason is None:
        return bytes(built.SerializeToString())
    if options.reason_header:
        built.response_headers_to_add.add(key=options.reason_header, value=header_value(reason))
    if options.reason_metadata:
        text = reason.sentence + (SHADOWED if answer.shadowed else "")
        built.dynamic_metadata.update(
            {
                "reason": {**metadata_of_reason(reason), "text": text},
                "descriptors": _descriptors(ask, answer, options, modes),
            }
        )
    return bytes(built.SerializeToString())


def held_of(ask: Ask) -> list[int | None]:
    """Return what is held of the limits of each descriptor, of several the most; None where no limit has holds."""
    return [
        max(
            [each.held for each in ask.outcomes[item.first : item.last] if isinstance(each, HoldDecision)], default=None
        )
        for item in ask.plan.items
    ]


def header_value(reason: Reason) -> str:
    """Return a structured field (RFC 9651): the kind as a token, the rest as parameters."""
    parameters = [f"{name}={_string(value)}" for name, value in metadata_of_reason(reason).items() if name != "kind"]
    return ";".join([reason.kind, *parameters])


def metadata_of_reason(reason: Reason) -> dict[str, str]:
    """Return the fields of a reason, with the reason itself as ``kind``."""
    fields = reason.fields
    return {"kind": fields.pop("reason"), **fields}


def _descriptors(ask: Ask, answer: Answer, options: EncodeOptions, modes: Modes) -> list[Mapping[str, object]]:
    plan = ask.plan
    return [
        {**(described(each) if options.dynamic_metadata else {}), **_verdict(ask, item, status, modes)}
        for each, item, status in zip(plan.request.descriptors, plan.items, answer.statuses, strict=True)
    ]


def _verdict(ask: Ask, item: Item, status: DescriptorStatus, modes: Modes) -> dict[str, object]:
    found: dict[str, object] = {"code": "OVER_LIMIT" if status.over else "OK"}
    if status.limit is not None and status.limit.name:
        found["limitName"] = status.limit.name
    reason = descriptor_reason(ask, item, status, modes)
    if reason is not None:
        found["reason"] = str(reason.kind)
        if reason.never:
            found["never"] = reason.never
    return found


def _string(text: str) -> str:
    """Return a structured-field string of any text; it has printable ASCII only, so other characters are escaped."""
    return structured_string("".join(each if " " <= each <= "~" else ascii(each)[1:-1] for each in text))
