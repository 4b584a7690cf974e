"""The log of failed charges: one line per kind and minute, and one when a kind has ended.

A busy service fails thousands of charges a second while Redis is away, so each line stands for many; a service whose
Redis is full or refuses its user logs nothing else about it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from ratelimitd.algorithms import counter_key
from ratelimitd.limiter import Ask, Failure, FailureKind, limit_name
from ratelimitd.observe.logs import get_logger
from ratelimitd.policy import OnStoreFailure

log = get_logger(__name__)

MINUTE: Final = 60.0
"""Seconds between two lines of a kind, and without a failure until it has ended: what an operator reads as it comes."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls a function after this number of seconds; the event loop's ``call_later``."""


def by_policy(counts: Counter[OnStoreFailure]) -> dict[str, int]:
    """Return counts by failure policy as logs show them."""
    return {policy.name.lower(): count for policy, count in counts.items() if count}


class _Episode:
    """Failures of one kind, without a minute's pause."""

    __slots__ = ("began", "fresh", "last", "total")

    def __init__(self, now: float) -> None:
        self.began = self.last = now
        self.fresh: Counter[OnStoreFailure] = Counter()
        self.total: Counter[OnStoreFailure] = Counter()


class StoreFailureLog:
    """Logs failed charges.

    Args:
        clock: monotonic seconds.
        keys: whether to log the name of a counter, which may contain a caller's secret.
    """

    def __init__(self, clock: Callable[[], float], later: Later, *, keys: bool) -> None:
        self._clock = clock
        self._later = later
        self._keys = keys
        self._episodes: dict[FailureKind, _Episode] = {}
        self._latest: dict[FailureKind, tuple[Ask, int, Failure, int]] = {}

    def failed(self, ask: Ask, index: int, failure: Failure, now: int) -> None:
        """Count a failed charge; ``Fallback`` calls this. ``now`` is wall-clock µs."""
        kind = failure.kind
        episode = self._episodes.get(kind)
        begins = episode is None
        if episode is None:
            episode = self._episodes[kind] = _Episode(self._clock())
        episode.last = self._clock()
        episode.fresh[ask.plan.charges[index].limit.on_store_failure] += 1
        self._latest[kind] = ask, index, failure, now
        if begins:
            self._report(kind, episode)

    def _report(self, kind: FailureKind, episode: _Episode) -> None:
        ask, index, failure, now = self._latest.pop(kind)
        fresh, episode.fresh = episode.fresh, Counter()
        episode.total += fresh
        charge = ask.plan.charges[index]
        named = {"limit": limit_name(ask, index)}
        if self._keys and charge.limit.rate is not None:
            named["key"] = counter_key(charge.key, charge.limit.rate, now).decode(errors="backslashreplace")
        log.warning(
            "store failure",
            kind=kind.value,
            charges=fresh.total(),
            on_store_failure=by_policy(fresh),
            reason=failure.message,
            **named,
        )
        self._later(MINUTE, lambda: self._minute_over(kind, episode))

    def _minute_over(self, kind: FailureKind, episode: _Episode) -> None:
        if episode.fresh:
            self._report(kind, episode)
            return
        del self._episodes[kind]
        log.info(
            "store failure ended",
            kind=kind.value,
            seconds=round(episode.last - episode.began, 1),
            charges=episode.total.total(),
            on_store_failure=by_policy(episode.total),
        )
