"""The decision log: one line per request, with its descriptors, their limits, and the reason of a denial or failure.

The lines contain request data, so the log is off by default. LOG_DECISIONS switches it on for good; LOG_LEVEL=debug
shows a sample; the admin API switches it on for a selection of requests and for a time. While it is off, a decision
costs one comparison with None (``Engine.listener``).
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, NamedTuple

from ratelimitd.limiter import Answer, Ask, Engine, Modes, Selection, listen, selects, unlisten
from ratelimitd.observe.logs import get_logger
from ratelimitd.policy import Policy

from .decision_line import decision_line

log = get_logger(__name__)

DEBUG_LINES: Final = 10
"""Lines per second with LOG_LEVEL=debug: every decision of a trial by hand, and a sample of real traffic."""


class Logged(NamedTuple):
    """What to log.

    Attributes:
        sample: 1 of this many selected decisions is logged, at random, so that periodic traffic is sampled evenly.
        lines: lines per second; further decisions are counted, and the next line says how many. 0: no bound.
    """

    selection: Selection = Selection()
    sample: int = 1
    lines: int = 0


class Sampler:
    """Chooses the decisions of one ``Logged``, and counts them.

    Attributes:
        written, skipped: decisions that were logged, and selected ones that were not because of ``lines``.
    """

    def __init__(self, logged: Logged, clock: Callable[[], float]) -> None:
        self.logged = logged
        self.written = self.skipped = 0
        self._clock = clock
        self._second = self._in_second = self._told = 0

    def takes(self, ask: Ask) -> bool:
        """Whether to log this decision now."""
        selection, sample, lines = self.logged
        if not selects(selection, ask) or (sample > 1 and random.getrandbits(32) % sample):
            return False
        second = int(self._clock())
        if second != self._second:
            self._second, self._in_second = second, 0
        if lines and self._in_second >= lines:
            self.skipped += 1
            return False
        self._in_second += 1
        self.written += 1
        return True

    def untold(self) -> dict[str, int]:
        """Return the number of decisions skipped since the line before, as a field if there are any."""
        skipped, self._told = self.skipped - self._told, self.skipped
        return {"skipped": skipped} if skipped else {}


class DecisionLog:
    """Listens to an engine while decisions are logged.

    Args:
        always: what is logged during the whole life of the process; None: nothing.

    Attributes:
        temporary: what the admin API switched on; None: nothing.
    """

    def __init__(self, engine: Engine, always: Logged | None) -> None:
        # A person switched this log on: LOG_LEVEL=warn, upstream's default, must not hide it.
        logging.getLogger(__name__).setLevel(logging.INFO)
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._always = None if always is None else Sampler(always, self._loop.time)
        self.temporary: Sampler | None = None
        self._ends = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._failed = False
        self._listen()

    def begin(self, logged: Logged, seconds: float) -> None:
        """Log these decisions for a time, in place of those of an earlier call."""
        self._stop()
        self.temporary = Sampler(logged, self._loop.time)
        self._ends = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self.end)
        self._listen()

    def end(self) -> None:
        """Log no more than the settings say."""
        sampler = self.temporary
        if sampler is not None:
            self._stop()
            self._listen()
            log.warning("decision log ended", logged=sampler.written, skipped=sampler.skipped)

    @property
    def always(self) -> bool:
        """Whether the settings switched the log on."""
        return self._always is not None

    def left(self) -> float:
        """Return the seconds until ``temporary`` ends."""
        return self._ends - self._loop.time()

    def _stop(self) -> None:
        self.temporary = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _listen(self) -> None:
        unlisten(self._engine, self._decided)
        if self.temporary is not None or self._always is not None:
            listen(self._engine, self._decided)

    def _decided(self, ask: Ask, answer: Answer) -> None:
        """Log a decision. A line that cannot be made is dropped and told once: it must not cost the call."""
        try:
            self._log(ask, answer)
        except Exception:
            if not self._failed:
                self._failed = True
                log.exception("a decision cannot be logged, and others may be missing")

    def _log(self, ask: Ask, answer: Answer) -> None:
        for sampler in (self.temporary, self._always):
            if sampler is not None and sampler.takes(ask):
                planner = self._engine.planner
                policy = None if planner is None else planner.policy
                log_decision(ask, answer, self._engine.modes, policy, sampler.untold())
                return


def log_decision(ask: Ask, answer: Answer, modes: Modes, policy: Policy | None, more: dict[str, int]) -> None:
    """Log one decision, with more fields."""
    code, fields = decision_line(ask, answer, modes, policy)
    log.info(code, **fields, **more)
