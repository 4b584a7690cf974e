"""Rate-limit header fields of a response, from the statuses of an answer."""

from collections.abc import Iterator, Sequence

from ratelimitd.config.values import UINT32_MAX
from ratelimitd.limiter import Answer, DescriptorStatus, structured_string
from ratelimitd.policy import UNIT_SECONDS, Limit


def limit_headers(
    statuses: Sequence[DescriptorStatus], names: Sequence[str], *, all_quota: bool
) -> Iterator[tuple[str, str]]:
    """Yield limit, remaining and reset of one descriptor, selected as in envoyproxy/ratelimit.

    It is the last descriptor over its limit, quota limits excluded; else the first one with the least remaining,
    which has to be below the largest number that a status can carry.
    """
    shown: DescriptorStatus | None = None
    least = UINT32_MAX
    for status in statuses:
        if status.limit is not None and status.remaining < least:
            shown, least = status, status.remaining
    for status in statuses:
        if status.over and status.limit is not None and not (all_quota or status.limit.quota_mode):
            shown = status
    if shown is None or shown.limit is None:
        return
    values = (shown.limit.requests_per_unit, shown.remaining, shown.reset)
    for name, value in zip(names, values, strict=True):
        yield name, str(value)


def ietf_headers(answer: Answer) -> Iterator[tuple[str, str]]:
    """Yield RateLimit-Policy, RateLimit (draft-ietf-httpapi-ratelimit-headers-10) and Retry-After (RFC 9110 10.2.3)."""
    shown = [(_policy_name(index, limit), limit, status) for index, limit, status in _limited(answer.statuses)]
    if not shown:
        return
    policies = [f"{name};q={limit.requests_per_unit}{_window(limit)}" for name, limit, _ in shown]
    yield "RateLimit-Policy", ", ".join(policies)
    yield "RateLimit", ", ".join(f"{name};r={status.remaining};t={status.reset}" for name, _, status in shown)
    if answer.over:
        yield "Retry-After", str(max(status.reset for _, _, status in shown if status.over))


def _limited(statuses: Sequence[DescriptorStatus]) -> Iterator[tuple[int, Limit, DescriptorStatus]]:
    for index, status in enumerate(statuses):
        if status.limit is not None:
            yield index, status.limit, status


def _policy_name(index: int, limit: Limit) -> str:
    """Return the name of a limit; if it has none that a header can carry, its position."""
    return structured_string(limit.name) or f'"limit-{index}"'


def _window(limit: Limit) -> str:
    """Return the parameter of the window; a limit on requests in progress has none."""
    seconds = UNIT_SECONDS.get(limit.unit)
    return "" if seconds is None else f";w={seconds * limit.unit_multiplier}"
