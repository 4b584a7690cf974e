"""The decision log (LOG_DECISIONS): a line per request. It shows what callers sent, so it is off by default."""

from ratelimitd.limiter import Answer, Plan
from ratelimitd.observe.logs import get_logger

from .encode import shown_unit

log = get_logger(__name__)


def log_decision(plan: Plan, answer: Answer) -> None:
    """Log one decision: the descriptors of a request, and the status of each."""
    told = []
    for descriptor, status in zip(plan.request.descriptors, answer.statuses, strict=True):
        asked = ",".join(f"{_text(key)}={_text(value)}" for key, value in descriptor.entries) or "(no entries)"
        if status.limit is None:
            told.append(f"{asked}: no limit")
            continue
        unit = shown_unit(status.limit.unit, status.limit.unit_multiplier).name.lower()
        told.append(
            f"{asked}: {status.remaining} of {status.limit.requests_per_unit}/{unit} left, reset {status.reset} s"
        )
    verdict = "failed" if answer.failure else "OVER_LIMIT" if answer.over else "OK"
    log.info(verdict, domain=_text(plan.request.domain), descriptors="; ".join(told))


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
