"""From the core's ``Answer`` to response bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ratelimitd.limiter import UINT32_MAX, Answer, Plan, Status, metadata_of
from ratelimitd.policy import Descriptor, Limit, Unit
from ratelimitd.proto import message

from .headers import ietf_headers, limit_headers

_Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
_OK: Final = _Response.OK
_OVER_LIMIT: Final = _Response.OVER_LIMIT


class EncodeOptions(NamedTuple):
    """What an answer carries beside the statuses.

    Attributes:
        limit_headers: names of the limit, remaining and reset headers; empty: none (LIMIT_RESPONSE_HEADERS_ENABLED).
        ietf_headers: RateLimit, RateLimit-Policy and Retry-After too.
        dynamic_metadata: RESPONSE_DYNAMIC_METADATA.
        quota_mode: QUOTA_MODE: every limit is a quota limit.
    """

    limit_headers: tuple[str, ...] = ()
    ietf_headers: bool = False
    dynamic_metadata: bool = False
    quota_mode: bool = False


def response(plan: Plan, answer: Answer, options: EncodeOptions) -> Any:
    """Build the ``RateLimitResponse``."""
    built = _Response(overall_code=_OVER_LIMIT if answer.over else _OK)
    for status in answer.statuses:
        _add_status(built.statuses, status)
    for name, value in _headers(answer, options):
        built.response_headers_to_add.add(key=name, value=value)
    if options.dynamic_metadata:
        built.dynamic_metadata.update(_dynamic_metadata(plan, answer.statuses))
    return built


def _add_status(statuses: Any, status: Status) -> None:
    built = statuses.add(code=_OVER_LIMIT if status.over else _OK, limit_remaining=min(status.remaining, UINT32_MAX))
    limit = status.limit
    if limit is not None:
        current = built.current_limit
        current.requests_per_unit = limit.requests_per_unit
        current.unit = shown_unit(limit)
        current.name = limit.name
        built.duration_until_reset.seconds = status.reset


def shown_unit(limit: Limit) -> Unit:
    """A unit that is not the window would make Envoy print a false one (``w=60`` for six hours)."""
    return limit.unit if limit.unit_multiplier == 1 else Unit.UNKNOWN


def _headers(answer: Answer, options: EncodeOptions) -> Iterable[tuple[str, str]]:
    if options.limit_headers:
        yield from limit_headers(answer.statuses, options.limit_headers, all_quota=options.quota_mode)
    if options.ietf_headers:
        yield from ietf_headers(answer)


def _dynamic_metadata(plan: Plan, statuses: Sequence[Status]) -> dict[str, object]:
    """As upstream builds it; header bytes that are not UTF-8 become U+FFFD, since a Struct holds text."""
    request = plan.request
    built: dict[str, object] = {
        "domain": _text(request.domain),
        "descriptors": [_described(descriptor) for descriptor in request.descriptors],
    }
    if request.hits:
        built["hitsAddend"] = request.hits
    metadata: Mapping[str, object] | None = metadata_of(plan, statuses)
    if metadata is not None:
        built["metadata"] = metadata
    return built


def _described(descriptor: Descriptor) -> dict[str, object]:
    built: dict[str, object] = {"entries": [f"{_text(key)}={_text(value)}" for key, value in descriptor.entries]}
    if descriptor.override is not None:
        requests_per_unit, unit = descriptor.override
        built["limit"] = f"requests_per_unit:{requests_per_unit} unit:{unit.name}"
    if descriptor.hits is not None:
        built["hitsAddend"] = descriptor.hits
    return built


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
