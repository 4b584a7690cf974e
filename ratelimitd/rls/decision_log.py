"""The decision log (LOG_DECISIONS): one line per request. It contains request data, so it is off by default."""

from ratelimitd.limiter import Answer, Plan
from ratelimitd.observe.logs import get_logger

from .encode import shown_unit

log = get_logger(__name__)


def log_decision(plan: Plan, answer: Answer) -> None:
    """Log one decision: the descriptors of a request, and the status of each."""
    lines = []
    for descriptor, status in zip(plan.request.descriptors, answer.statuses, strict=True):
        entries = ",".join(f"{_text(key)}={_text(value)}" for key, value in descriptor.entries) or "(no entries)"
        if status.limit is None:
            lines.append(f"{entries}: no limit")
            continue
        unit = shown_unit(status.limit.unit, status.limit.unit_multiplier).name.lower()
        lines.append(
            f"{entries}: {status.remaining} of {status.limit.requests_per_unit}/{unit} left, reset {status.reset} s"
        )
    code = "failed" if answer.failure else "OVER_LIMIT" if answer.over else "OK"
    log.info(code, domain=_text(plan.request.domain), descriptors="; ".join(lines))


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
