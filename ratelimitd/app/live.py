"""The live view of a running service: what its pages show, and the task that keeps the model current."""

import asyncio
import secrets
import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

from ratelimitd import live as model
from ratelimitd.admin import Document, Hub, LiveAccess, PageTable, TokenGuard, Topics, Watched, live_off, live_pages
from ratelimitd.descriptor_text import show
from ratelimitd.limiter import Plan
from ratelimitd.live import LimitsQuery, Live, View
from ratelimitd.observe.logs import get_logger
from ratelimitd.policy import DescriptorNode
from ratelimitd.rls import DecisionFeed, Logged
from ratelimitd.settings import Settings

from .engine import Parts
from .life import Front
from .live_facts import facts, replica
from .service import RunningService

T = TypeVar("T")

log = get_logger(__name__)

TICK: Final = 1.0
"""Seconds between two looks of the model at what was counted: a tenth of its steps."""

GOODBYE: Final = b'event: shutdown\ndata: {"version":1}\n\n'
"""The last event of each reader: the process ends, and a page that reconnects may find another one."""


def live_model(settings: Settings, parts: Parts) -> Live | None:
    """Make the model, and let it watch the engine; None if LIVE_MAX_BYTES is 0, and nothing watches."""
    if not settings.live_max_bytes:
        return None
    secret = settings.identity_secret.encode() or secrets.token_bytes(32)
    made = Live(settings.live_max_bytes, secret, time.time_ns() // 1000, parts.tallies, parts.engine.modes)
    parts.engine.watcher = made
    return made


class LiveService:
    """A ``LiveView`` of a running service.

    Args:
        service: what is shown.
        live: the model.
        example: returns a shell command that makes traffic for this process; empty: there is none yet.

    Attributes:
        hub: the readers of its events.
    """

    def __init__(self, service: RunningService, live: Live, example: Callable[[], str]) -> None:
        self._service = service
        self._live = live
        self._example = example
        self._replica = replica()
        self.hub = Hub(Topics(self).render)

    async def run(self) -> None:
        """Keep the model current, until cancelled."""
        engine = self._service.parts.engine
        while True:
            await asyncio.sleep(TICK)
            decided = engine.decided_ok, engine.decided_over, engine.decided_failed
            await finished(self._live.tick(_now(), decided))

    def front(self) -> Front:
        """Return what ends the readers when the process drains."""

        async def stop(_: float) -> None:
            pass

        return Front(lambda: self.hub.close(GOODBYE), stop)

    async def overview(self, *, plain: bool) -> Document:
        """See ``LiveView``."""
        made = model.overview(self._view(plain=plain))
        shown = {"replica": self._replica, "authorized": plain, "keys": "shown" if plain else "hashed"}
        return {**made, **shown, **facts(self._service), "example": self._example()}

    async def history(self) -> Document:
        """See ``LiveView``."""
        return model.history(self._view(plain=False))

    async def limits(self, query: LimitsQuery, *, plain: bool) -> Document:
        """See ``LiveView``."""
        return await finished(model.limits(self._view(plain=plain), query))

    async def busiest(self, *, plain: bool) -> Document:
        """See ``LiveView``."""
        return model.busiest(self._view(plain=plain))

    async def limit(self, id: str, *, plain: bool) -> Document | None:  # noqa: A002 -- the name of the parameter
        """See ``LiveView``."""
        return await finished(model.limit(self._view(plain=plain), id))

    async def denials(self, id: str, most: int, *, plain: bool) -> Document:  # noqa: A002 -- as above
        """See ``LiveView``."""
        return model.denials(self._view(plain=plain), id or None, most)

    def decisions(self, watched: Watched, *, plain: bool) -> DecisionFeed:
        """See ``LiveView``."""

        def shown(plan: Plan, position: int) -> str:
            return model.shown_descriptor(self._live.secret, plan, position, plain, show)[0]

        logged = Logged(watched.selection, lines=watched.lines)
        clock = asyncio.get_running_loop().time
        return DecisionFeed(self._service.parts.engine, logged, shown, clock, denied=watched.denied)

    def _view(self, *, plain: bool) -> View:
        return View(self._live, self._service.policies.policy, _now(), plain, show, _where)


def live_table(view: LiveService | None, guard: TokenGuard | None) -> PageTable:
    """Return the pages of the live view, also while it is off."""
    return live_off() if view is None else live_pages(view, LiveAccess(guard), view.hub)


async def finished(slices: Generator[None, None, T]) -> T:
    """Run work that yields between its slices, and let the event loop turn in between."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            made: T = end.value
            return made
        await asyncio.sleep(0)


def _now() -> int:
    return time.time_ns() // 1000


def _where(node: DescriptorNode, index: int) -> dict[str, Any] | None:  # noqa: ARG001 -- replaced by policy.where_of
    return None
