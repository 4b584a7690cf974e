"""The policy in force: loaded at the start, taken over on every change, kept when a new one is bad."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from ratelimitd.limiter import KeyMaker, Planner, Tallies, key_maker
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import batches
from ratelimitd.policy import UNSALTED, OnStoreFailure, Policy, PolicyErrors
from ratelimitd.settings import Settings
from ratelimitd.sources import (
    GATEWAY_ALGORITHM,
    GatewayFile,
    Loaded,
    RuntimeFolder,
    Source,
    describe,
    dismantle,
    load,
    named,
)

from .engine import Parts, plan_options

log = get_logger(__name__)

PLANS_FREED: Final = 200
"""Plans freed before the loop may turn: about a quarter of a millisecond of work."""

ERRORS_LOGGED: Final = 100
"""Errors of one bad policy that the log repeats; ``ratelimitd validate`` lists all."""

TOLD: Final = 20
"""Warnings or errors kept for the admin API: a screenful."""


def source_of(settings: Settings, config: tuple[str, ...]) -> Source:
    """Where the policy is: ``--config`` paths, else the RUNTIME_* folder."""
    if config:
        return named(config)
    return RuntimeFolder(
        settings.runtime_root,
        settings.runtime_subdirectory,
        settings.runtime_appdirectory,
        settings.runtime_watch_root,
        settings.runtime_ignoredotfiles,
    )


def default_algorithm(source: Source, settings: Settings) -> str:
    """Limits of a gateway file mean the same whoever serves them: token buckets, unless they say otherwise."""
    return GATEWAY_ALGORITHM if isinstance(source, GatewayFile) else settings.default_algorithm


Accept = Callable[[Policy], Callable[[], None]]
"""Looks at a new policy, and raises PolicyErrors or returns what puts all else in force that came with it."""

Prepare = Callable[[], Awaitable[Accept]]
"""Reads what comes with a policy, before it; raises PolicyErrors."""


def _accept_any(_: Policy) -> Callable[[], None]:
    return lambda: None


class InForce(NamedTuple):
    """Facts of the policy in force.

    Attributes:
        generation: policies put in force so far; 0: none yet, and what follows is of none.
        version: see ``sources.Loaded``.
        loaded: when it was put in force, seconds of the monotonic clock; the start, for none.
        source: where it came from, symbolic links followed.
        files, domains, limits: how many it has.
        warnings: the first of its warnings, as text.
        refused: the first errors of the load after it, as text, where that was refused.
        needs_store: whether some limit of it fails requests while the store is away.
    """

    generation: int
    version: str
    loaded: float
    source: str
    files: int = 0
    domains: int = 0
    limits: int = 0
    warnings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    needs_store: bool = False


class Policies:
    """Loads policies and puts each good one in force.

    Attributes:
        in_force: facts of the policy in force, replaced in the same step as the engine's planner.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        parts: Parts,
        prepare: Prepare | None = None,
    ) -> None:
        self.in_force = InForce(0, "", time.monotonic(), describe(source))
        self._source = source
        self._settings = settings
        self._parts = parts
        self._prepare = prepare
        self._default_algorithm = default_algorithm(source, settings)
        self._keys = _key_maker(settings, shared=parts.redis is not None)

    @property
    def policy(self) -> Policy | None:
        """The one in force."""
        planner = self._parts.engine.planner
        return None if planner is None else planner.policy

    def planner(self, policy: Policy, tallies: Tallies) -> Planner:
        """Return what plans requests by this policy, and counts into these tallies."""
        return Planner(policy, self._keys, tallies, plan_options(self._settings, self._parts.engine.modes))

    async def reload(self) -> None:
        """Load what the source holds now; on any error the policy in force stays."""
        settings = self._settings
        try:
            accept = await self._prepare() if self._prepare is not None else _accept_any
            loaded = await load(
                self._source,
                default_algorithm=self._default_algorithm,
                merge_domains=settings.merge_domain_config,
            )
            commit = accept(loaded.policy)
        except PolicyErrors as errors:
            self._refused(errors)
            return
        old = self._parts.engine.planner
        needs_store = await _needs_store(loaded.policy)
        self._put_in_force(loaded, needs_store=needs_store)
        commit()
        if old is not None:
            await _forget(old)
            await dismantle(old.policy)

    def _put_in_force(self, loaded: Loaded, *, needs_store: bool) -> None:
        parts = self._parts
        parts.engine.planner = self.planner(loaded.policy, parts.tallies)
        parts.counters.config_load_success += 1
        self.in_force = InForce(
            generation=self.in_force.generation + 1,
            version=loaded.version,
            loaded=time.monotonic(),
            source=describe(self._source),
            files=loaded.files,
            domains=loaded.summary.domains,
            limits=loaded.summary.limits,
            warnings=tuple(map(str, loaded.warnings[:TOLD])),
            needs_store=needs_store,
        )
        log.info("policy loaded", files=loaded.files, policy_version=loaded.version, **loaded.summary._asdict())
        for warning in loaded.warnings:
            log.warning(str(warning))
        if not self._settings.identity_secret and any(domain.identity for domain in loaded.policy.domains.values()):
            log.warning(UNSALTED)

    def _refused(self, errors: PolicyErrors) -> None:
        self._parts.counters.config_load_error += 1
        self.in_force = self.in_force._replace(refused=tuple(map(str, errors.errors[:TOLD])))
        stays = "no policy is active" if self.policy is None else "the previous policy stays active"
        log.error("policy rejected", errors=len(errors.errors), note=stays)
        for error in errors.errors[:ERRORS_LOGGED]:
            log.error(str(error))


def _key_maker(settings: Settings, *, shared: bool) -> KeyMaker:
    """Counters in memory are shared with nobody, so they need no name that could collide."""
    safe = not shared or settings.fixed_window_keys == "safe"
    return key_maker(settings.cache_key_prefix.encode(), safe=safe)


async def _forget(planner: Planner) -> None:
    more = True
    while more:
        more = planner.forget(PLANS_FREED)
        await asyncio.sleep(0)


async def _needs_store(policy: Policy) -> bool:
    """Look for a limit whose failure fails the request, the loop turning in between."""
    for some in batches(policy.nodes, 200):
        if any(limit.on_store_failure is OnStoreFailure.ERROR for node in some for limit in node.limits):
            return True
        await asyncio.sleep(0)
    return False
