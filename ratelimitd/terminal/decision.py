"""The lines of ``ratelimitd watch``."""

from typing import Final

from rich.text import Text

from .amounts import clock, span
from .documents import Document, number, parts, text

STYLES: Final = {"OK": "green", "OVER_LIMIT": "red"}
"""Colours of ``ratelimitd check``; anything else is a failure."""

_CODE: Final = len("OVER_LIMIT")


def decision_line(decision: Document) -> Text:
    """Return the line of a decision: time, code, domain, each descriptor with its limit, and the reason."""
    code = text(decision, "code")
    line = Text.assemble(
        clock(number(decision, "time")), " ", (f"{code:<{_CODE}}", STYLES.get(code, "magenta")), " ",
        (text(decision, "domain"), "bold"), " ", "; ".join(map(_descriptor, parts(decision, "descriptors"))),
    )  # fmt: skip
    if left_out := number(decision, "left_out"):
        line.append(f"; and {left_out:.0f} more descriptors")
    reason, limit = text(decision, "reason"), text(decision, "limit")
    if reason:
        line.append(f" ({reason}{f' by {limit}' if limit else ''})", style=STYLES.get(code, "magenta"))
    return line


def skipped_line(skipped: Document) -> Text:
    """Return the line in place of decisions that were too many."""
    return Text(f"{number(skipped, 'count') or 0:.0f} more decisions are not shown; --lines sets how many a second are")


def _descriptor(each: Document) -> str:
    limit = text(each, "limit")
    if not limit:
        return f"{text(each, 'descriptor')}: {'unlimited' if each.get('unlimited') is True else 'no limit'}"
    says = [f"{limit} {text(each, 'summary')}".rstrip()]
    if (remaining := number(each, "remaining")) is not None:
        says.append(f"{remaining:.0f} left")
    if (reset := number(each, "reset_after")) is not None:
        says.append(f"reset {span(reset)}")
    return f"{text(each, 'descriptor')}: {', '.join(says)}"
