"""Decisions as they are made, for a reader: as documents, so many a second, and the number of those left out."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from ratelimitd.limiter import (
    Answer,
    Ask,
    DescriptorStatus,
    Engine,
    Item,
    Plan,
    limit_name,
    listen,
    reason_of,
    shown_charge,
    unlisten,
)
from ratelimitd.observe.logs import get_logger
from ratelimitd.policy import amount_in_words

from .decision_log import Logged, Sampler

log = get_logger(__name__)

Show = Callable[[Plan, int], str]
"""The text of a descriptor of a plan, by its position."""

DESCRIPTORS: Final = 8
"""Descriptors of a decision that are shown: a filter of Envoy sends one to four. Each takes some 10 µs."""

TEXT: Final = 300
"""Characters of a descriptor, a domain and the name of a limit that are shown: two lines of a wide terminal."""

KEPT_BYTES: Final = 512 << 10
"""Memory of the decisions that wait for the reader: some two hundred, and they are taken four times a second."""

SIZE: Final = 1 << 10
"""Bytes of a decision, and of each descriptor of it, besides the text: 0.7 KiB measured; names of limits are short."""


class DecisionFeed:
    """The decisions of one reader. It listens to the engine until ``close``.

    Args:
        engine: what decides.
        logged: the decisions that the reader wants.
        show: makes the text of a descriptor.
        denied: whether it wants only those whose code is not OK.
        clock: monotonic seconds.
    """

    def __init__(
        self, engine: Engine, logged: Logged, show: Show, clock: Callable[[], float], *, denied: bool = False
    ) -> None:
        self._engine = engine
        self._sampler = Sampler(logged, clock)
        self._show = show
        self._denied = denied
        self._waiting: deque[dict[str, Any]] = deque()
        self._size = self._lost = 0
        self._failed = False
        listen(engine, self._decided)

    def take(self) -> tuple[list[dict[str, Any]], int]:
        """Return the decisions since the last time, oldest first, and the number of those that were left out."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        lost, self._lost = self._lost, 0
        return taken, lost + self._sampler.untold().get("skipped", 0)

    def close(self) -> None:
        """Listen no more."""
        unlisten(self._engine, self._decided)

    def _decided(self, ask: Ask, answer: Answer) -> None:
        """Keep a decision. One that cannot be shown is dropped and told once: it must not cost the call."""
        try:
            if (self._denied and not (answer.over or answer.failure)) or not self._sampler.takes(ask):
                return
            if self._size >= KEPT_BYTES:
                self._lost += 1
                return
            made = self._document(ask, answer)
            self._size += SIZE + sum(SIZE + len(each["descriptor"]) for each in made["descriptors"])
            self._waiting.append(made)
        except Exception:
            if not self._failed:
                self._failed = True
                log.exception("a decision cannot be shown, and others may be missing")

    def _document(self, ask: Ask, answer: Answer) -> dict[str, Any]:
        reason = reason_of(ask, answer, self._engine.modes)
        left_out = len(ask.plan.items) - DESCRIPTORS
        return {
            "time": round(time.time(), 3),
            "code": "failed" if answer.failure else "OVER_LIMIT" if answer.over else "OK",
            "domain": _text(ask.plan.request.domain),
            "descriptors": list(self._descriptors(ask, answer)),
            "left_out": max(0, left_out),
            "reason": None if reason is None else str(reason.kind),
            "limit": None if reason is None else _cut(reason.limit) or None,
            "shadow": answer.shadowed,
        }

    def _descriptors(self, ask: Ask, answer: Answer) -> Iterator[dict[str, Any]]:
        shown = zip(ask.plan.items[:DESCRIPTORS], answer.statuses, strict=False)
        for position, (item, status) in enumerate(shown):
            text = self._show(ask.plan, position)
            yield {
                "descriptor": _cut(text),
                "unlimited": item.unlimited,
                **_state(ask, item, status),
            }


def _state(ask: Ask, item: Item, status: DescriptorStatus) -> dict[str, Any]:
    """Return the limit that binds a descriptor, and what it leaves; null where no counter was read."""
    index = None if item.unlimited else shown_charge(ask, item, status)
    if index is None or status.limit is None:
        return {
            "limit": _cut(limit_name(ask, item.first)) if item.first < item.last else None,
            "summary": None,
            "remaining": None,
            "reset_after": None,
        }
    counted = index not in ask.failures
    return {
        "limit": _cut(limit_name(ask, index)),
        "summary": amount_in_words(status.limit),
        "remaining": status.remaining if counted else None,
        "reset_after": status.reset if counted else None,
    }


def _text(value: bytes) -> str:
    return _cut(value[: 4 * TEXT].decode(errors="backslashreplace"))


def _cut(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[:TEXT]}…"
