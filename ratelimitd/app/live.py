"""The live view of a running service: what its pages show, and the task that keeps the model current."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Final, TypeVar

from ratelimitd import live as model
from ratelimitd.admin import (
    AllReplicas,
    Document,
    Hub,
    LiveAccess,
    PageTable,
    TokenGuard,
    Topics,
    Watched,
    live_off,
    live_pages,
)
from ratelimitd.descriptor_text import show
from ratelimitd.limiter import Plan
from ratelimitd.live import LimitsQuery, Live, View
from ratelimitd.observe.logs import get_logger
from ratelimitd.policy import DescriptorNode, where_fields, where_of
from ratelimitd.rls import DecisionFeed, Logged
from ratelimitd.simulate.changed import changed_limit
from ratelimitd.simulate.replay import replay

from .life import Front
from .live_facts import facts, replica
from .service import RunningService

T = TypeVar("T")

OF_ONE: Final = (
    "hits that other replicas decided are not replayed, though they fill the same counters in Redis: "
    "ask for all replicas (all=1)"
)

log = get_logger(__name__)

TICK: Final = 1.0
"""Seconds between two looks of the model at what was counted: a tenth of its steps."""

GOODBYE: Final = b'event: shutdown\ndata: {"version":1}\n\n'
"""The last event of each reader: the process ends, and a page that reconnects may find another one."""


def live_service(service: RunningService, example: Callable[[], str]) -> "LiveService | None":
    """Return the view of what the engine shows to its model; None if LIVE_MAX_BYTES is 0.

    ``example``: see ``LiveService``.
    """
    live = service.parts.live
    return None if live is None else LiveService(service, live, example)


def live_tasks(view: "LiveService | None") -> list[Coroutine[None, None, None]]:
    """Return the task of a view, if there is one."""
    return [] if view is None else [view.run()]


def live_fronts(view: "LiveService | None") -> list[Front]:
    """Return what ends the readers of a view when the process drains, if there is one."""

    async def stop(_: float) -> None:
        """Nothing is left to wait for."""

    return [] if view is None else [Front(lambda: view.hub.close(GOODBYE), stop)]


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
        self._walking = asyncio.Lock()
        self.hub = Hub(Topics(self).render)

    async def run(self) -> None:
        """Keep the model current, until cancelled."""
        told = False
        while True:
            await asyncio.sleep(TICK)
            error = await self._tick()
            if error is not None and not told:
                told = True
                log.error("the live view has an error, and its numbers may be wrong", exc_info=error)

    async def _tick(self) -> Exception | None:
        """Bring the model up to date; returns an error of it, if there was one since the last time."""
        engine = self._service.parts.engine
        decided = engine.decided_ok, engine.decided_over, engine.decided_failed
        fault, self._live.fault = self._live.fault, None
        try:
            for _ in self._live.tick(_now(), decided):
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 -- the next tick may succeed
            return error
        return fault

    async def overview(self, *, plain: bool) -> Document:
        """See ``LiveView``."""
        made = model.overview(self._view(plain=plain))
        settings = self._service.settings
        token = bool(settings.admin_token or settings.admin_token_file)
        shown = {"replica": self._replica, "authorized": plain, "keys": "shown" if plain else "hashed", "token": token}
        return {**made, **shown, **facts(self._service), "example": self._example()}

    async def history(self) -> Document:
        """See ``LiveView``."""
        return model.history(self._view(plain=False))

    async def limits(self, query: LimitsQuery, *, plain: bool) -> Document:
        """See ``LiveView``."""
        return await self._walked(lambda view: model.limits(view, query), plain=plain)

    async def busiest(self, *, plain: bool) -> Document:
        """See ``LiveView``."""
        return model.busiest(self._view(plain=plain))

    async def limit(self, limit_id: str, *, plain: bool) -> Document | None:
        """See ``LiveView``."""
        return await self._walked(lambda view: model.limit(view, limit_id), plain=plain)

    async def denials(self, limit_id: str, most: int, *, plain: bool) -> Document:
        """See ``LiveView``."""
        return model.denials(self._view(plain=plain), limit_id or None, most)

    async def what_if(
        self, limit_id: str, changes: Mapping[str, str], *, plain: bool, of_all: Document | None = None
    ) -> Generator[None, None, Document] | None:
        """See ``LiveView``."""
        which = await self._walked(lambda view: model.found(view, limit_id), plain=plain)
        if which is None:
            return None
        changed = changed_limit(which.limit, changes)
        if of_all is not None:
            return replay(which.limit, changed, of_all)
        shown = await self.limit(limit_id, plain=plain)
        if shown is None:
            return None
        slices = replay(which.limit, changed, shown)
        return slices if self._service.parts.redis is None else _of_one(slices)

    def decisions(self, watched: Watched, *, plain: bool) -> DecisionFeed:
        """See ``LiveView``."""

        def shown(plan: Plan, position: int) -> str:
            return model.shown_descriptor(self._live.key, plan, position, plain, show)[0]

        logged = Logged(watched.selection, lines=watched.lines)
        clock = asyncio.get_running_loop().time
        return DecisionFeed(self._service.parts.engine, logged, shown, clock, denied=watched.denied)

    def _view(self, *, plain: bool) -> View:
        policy = self._service.policies.policy

        def where(node: DescriptorNode, index: int) -> dict[str, Any] | None:
            return None if policy is None else where_fields(where_of(policy, node, index))

        return View(self._live, policy, _now(), plain, show, where)

    async def _walked(self, walk: Callable[[View], Generator[None, None, T]], *, plain: bool) -> T:
        """Walk the policy in slices, one walk at a time, since each holds something of every limit that it finds.

        A policy that is replaced meanwhile is dismantled, so the walk begins again.
        """
        policies = self._service.policies
        async with self._walking:
            while True:
                view = self._view(plain=plain)
                slices = walk(view)
                while policies.policy is view.policy:
                    try:
                        next(slices)
                    except StopIteration as end:
                        made: T = end.value
                        return made
                    await asyncio.sleep(0)
                slices.close()


def _of_one(slices: Generator[None, None, Document]) -> Generator[None, None, Document]:
    """Say in a replay that it is of one replica, where others count by the same counters."""
    made = yield from slices
    return {**made, "exact": False, "note": f"{OF_ONE}; {made['note']}"}


def live_table(view: LiveService | None, guard: TokenGuard | None, replicas: AllReplicas | None) -> PageTable:
    """Return the pages of the live view, also while it is off; ``replicas``: all of them."""
    if view is None or replicas is None:
        return live_off()
    return live_pages(view, LiveAccess(guard), view.hub, replicas)


def _now() -> int:
    return time.time_ns() // 1000
