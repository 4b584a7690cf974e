"""The active policy: loaded at the start, replaced on every change, kept if the new one is invalid."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from ratelimitd.limiter import Planner, PostPaid, Tallies, key_maker
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import batches
from ratelimitd.policy import UNSALTED, FixedWindowKeys, OnStoreFailure, Policy, PolicyError, PolicyErrors
from ratelimitd.settings import Settings
from ratelimitd.sources import (
    GATEWAY_ALGORITHM,
    GatewayFile,
    InvalidPolicyError,
    Loaded,
    Pushed,
    RuntimeFolder,
    Source,
    describe,
    dismantle,
    load,
    named,
)

from .changed import Changed, changed
from .engine import Parts, plan_options
from .overlay import overlay_of

log = get_logger(__name__)

NODES_FREED: Final = 200
"""Nodes whose rules are freed before yielding to the event loop: a fraction of a millisecond of work."""

ERRORS_LOGGED: Final = 100
"""Errors of an invalid policy that are logged; ``ratelimitd validate`` lists all."""

LINES: Final = 10
"""Lines that are logged before yielding to the event loop: each takes 0.05 to 0.1 ms."""

ADMIN_SHOWN: Final = 20
"""Warnings or errors kept for the admin API: a screenful."""

REMIND: Final = 60.0
"""Seconds between two warnings while the last read is refused: the recent log shows it, and is not filled by it."""


def source_of(settings: Settings, config: tuple[str, ...]) -> Source | Pushed:
    """Return the source of the policy: a control plane, the ``--config`` paths, else the RUNTIME_* directory."""
    if settings.over_xds:
        return Pushed(settings.config_grpc_xds_server_url)
    if config:
        return named(config)
    return RuntimeFolder(
        settings.runtime_root,
        settings.runtime_subdirectory,
        settings.runtime_appdirectory,
        settings.runtime_watch_root,
        settings.runtime_ignoredotfiles,
    )


def default_algorithm(source: Source | Pushed, settings: Settings) -> str:
    """Return the default algorithm; in a gateway file it is the token bucket, for ``serve`` as for ``proxy``."""
    return GATEWAY_ALGORITHM if isinstance(source, GatewayFile) else settings.default_algorithm


Accept = Callable[[Policy], Callable[[], None]]
"""Checks a new policy; raises PolicyErrors, or returns a function that activates what was prepared with it."""

Prepare = Callable[[], Awaitable[Accept]]
"""Reads the configuration that belongs to a policy, before the policy; raises PolicyErrors."""


def _accept_any(_: Policy) -> Callable[[], None]:
    return lambda: None


class ActivePolicy(NamedTuple):
    """Facts of the active policy.

    Attributes:
        generation: policies activated so far; 0: none yet, and the other fields are empty.
        version: see ``sources.Loaded``.
        loaded: monotonic time of activation, seconds; time of the start if there is none.
        source: where it was loaded from, symbolic links resolved.
        files, domains, limits: how many of each it contains; no files if it was pushed.
        warnings: its first warnings, as text.
        refused: the first errors of a later load that was rejected, as text.
        changed: the differences from the policy that was active before.
        needs_store: whether a limit of it fails requests while the store is unavailable.
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
    changed: Changed = Changed()
    needs_store: bool = False


class Policies:
    """Loads policies and activates each valid one.

    Attributes:
        active: facts of the active policy, replaced in the same step as the engine's planner.
        overlay: the overlay; None: there is none.
    """

    def __init__(
        self,
        source: Source | Pushed,
        settings: Settings,
        parts: Parts,
        prepare: Prepare | None = None,
    ) -> None:
        self.active = ActivePolicy(0, "", time.monotonic(), describe(source))
        self.overlay = overlay_of(settings)
        self._source = source
        self._pushed_refused: tuple[str, ...] = ()
        self._reload_refused: tuple[str, ...] = ()
        self._loading = asyncio.Lock()
        self._settings = settings
        self._parts = parts
        self._prepare = prepare
        self._default_algorithm = default_algorithm(source, settings)
        self._keys = key_maker(
            settings.cache_key_prefix.encode(), safe=fixed_window_keys(settings) is FixedWindowKeys.SAFE
        )

    @property
    def policy(self) -> Policy | None:
        """The active policy."""
        planner = self._parts.engine.planner
        return None if planner is None else planner.policy

    def planner(self, policy: Policy, tallies: Tallies) -> Planner:
        """Return a planner for this policy that counts into these tallies."""
        options = plan_options(self._settings, self._parts.engine.modes)
        return Planner(policy, self._keys, tallies, options, self._parts.post_paid)

    async def reload(self) -> None:
        """Load the current content of the source; on any error, or if no file is left, the active policy stays.

        Of a control plane that is what it sent last and was accepted; before that, only an overlay is read.
        """
        async with self._loading:
            if not isinstance(self._source, Pushed):
                await self._load(self._source)
            elif self.active.generation:
                errors = await self._load(self._source, again=True)
                self._reload_refused = () if errors is None else self.active.refused
            else:
                await self._look()

    async def look(self) -> None:
        """Read the overlay of a policy that is yet to be pushed, unless a load has."""
        async with self._loading:
            if self.overlay is not None and not self.overlay.read:
                await self._look()

    async def take(self, pushed: Pushed) -> PolicyErrors | None:
        """Load a policy that was pushed, and activate it; or return its errors, and the active policy stays."""
        async with self._loading:
            errors = await self._load(pushed)
            if errors is None:  # the overlay applies too
                self._pushed_refused = self._reload_refused = ()
            else:
                self._pushed_refused = self.active.refused
            return errors

    def renamed(self, version: str) -> None:
        """Take another version of the active policy: that of a response that brought nothing new."""
        if isinstance(self._source, Pushed):
            self._source = self._source._replace(version=version)
        self.active = self.active._replace(version=version, refused=self._reload_refused)
        self._pushed_refused = ()

    async def _look(self) -> None:
        """Read the overlay as a load does: beside a policy without any domain, which is not activated."""
        try:
            await self._loaded(self._source)
        except PolicyErrors as errors:
            await _logged(log.error, errors.errors)

    async def _loaded(self, source: Source | Pushed) -> Loaded:
        """Load a policy, and note what was found of the overlay. Raises PolicyErrors."""
        settings, overlay = self._settings, self.overlay
        report = None
        try:
            loaded = await load(
                source,
                default_algorithm=self._default_algorithm,
                merge_domains=settings.merge_domain_config,
                fixed_window_keys=fixed_window_keys(settings),
                needs_file=self.active.files > 0,
                most=settings.policy_max_bytes,
                overlay=None if overlay is None else overlay.file,
            )
            report = loaded.overlay
        except InvalidPolicyError as errors:
            report = errors.overlay
            raise
        finally:
            if overlay is not None and report is not None:
                overlay.found(report)
        return loaded

    async def _load(self, source: Source | Pushed, *, again: bool = False) -> PolicyErrors | None:
        """Load a policy and activate it, or return its errors. ``again``: it is in force, its overlay may differ."""
        try:
            accept = await self._prepare() if self._prepare is not None else _accept_any
            loaded = await self._loaded(source)
            commit = accept(loaded.policy)
        except PolicyErrors as errors:
            self._rejected(errors)
            await _logged(log.error, errors.errors[:ERRORS_LOGGED])
            return errors
        old = self._parts.engine.planner
        needs_store = await _needs_store(loaded.policy)
        differences = Changed() if old is None else await changed(old.policy, loaded.policy)
        refused = self._pushed_refused if again else ()
        if again and isinstance(self._source, Pushed):  # it may have another version since the load began
            source, loaded = self._source, loaded._replace(version=self._source.version)
        self._source = source
        self._activate(loaded, differences, refused, needs_store=needs_store)
        commit()
        await _logged(log.warning, loaded.warnings)
        if old is not None:
            await _forget(old)
            await _retire(self._parts.tallies, loaded.policy)
            await _prune(self._parts.post_paid, loaded.policy)
            await dismantle(old.policy)
        return None

    async def remind(self) -> None:
        """Warn again and again while the last read is refused, until cancelled."""
        while True:
            await asyncio.sleep(REMIND)
            if self.active.refused:
                log.warning("policy still rejected", note=self._stays, error=self.active.refused[0])

    @property
    def _stays(self) -> str:
        return "no policy is active" if self.policy is None else "the previous policy stays active"

    def _activate(self, loaded: Loaded, differences: Changed, refused: tuple[str, ...], *, needs_store: bool) -> None:
        parts = self._parts
        first = not self.active.generation
        parts.engine.planner = self.planner(loaded.policy, parts.tallies)
        parts.counters.config_load_success += 1
        self.active = ActivePolicy(
            generation=self.active.generation + 1,
            version=loaded.version,
            loaded=time.monotonic(),
            source=describe(self._source),
            files=loaded.files,
            domains=loaded.summary.domains,
            limits=loaded.summary.limits,
            warnings=tuple(map(str, loaded.warnings[:ADMIN_SHOWN])),
            refused=refused,
            changed=differences,
            needs_store=needs_store,
        )
        told = {} if first else {"changes": differences.total, "first_changes": differences.first}
        if differences.restarts:
            told |= {"restarts": differences.restarts, "restarted": differences.restarted}
        if self.overlay is not None and loaded.overlay is not None:
            self.overlay.applied = loaded.overlay
            told |= {"overlay_version": loaded.overlay.version}
        files = {} if isinstance(self._source, Pushed) else {"files": loaded.files}
        log.info("policy loaded", **files, policy_version=loaded.version, **loaded.summary._asdict(), **told)
        if unsalted(loaded.policy, self._settings):
            log.warning(UNSALTED)

    def _rejected(self, errors: PolicyErrors) -> None:
        self._parts.counters.config_load_error += 1
        self.active = self.active._replace(refused=tuple(map(str, errors.errors[:ADMIN_SHOWN])))
        log.error("policy rejected", errors=len(errors.errors), note=self._stays)


def fixed_window_keys(settings: Settings) -> FixedWindowKeys:
    """Return FIXED_WINDOW_KEYS; counters in memory are shared with no other service, so their keys are always safe."""
    return FixedWindowKeys.SAFE if settings.redis is None else FixedWindowKeys(settings.fixed_window_keys)


def unsalted(policy: Policy, settings: Settings) -> bool:
    """Whether names of counters that others can read are made of API keys without a secret: those in Redis."""
    identified = any(domain.identity for domain in policy.domains.values())
    return identified and not settings.identity_secret and settings.redis is not None


async def _logged(write: Callable[[str], None], problems: Sequence[PolicyError]) -> None:
    for some in batches(problems, LINES):
        for each in some:
            write(str(each))
        await asyncio.sleep(0)


async def _forget(planner: Planner) -> None:
    more = True
    while more:
        more = planner.forget(NODES_FREED)
        await asyncio.sleep(0)


async def _retire(tallies: Tallies, policy: Policy) -> None:
    for _ in tallies.retire(policy):
        await asyncio.sleep(0)


async def _prune(post_paid: PostPaid, policy: Policy) -> None:
    for _ in post_paid.prune(policy, time.time_ns() // 1000):
        await asyncio.sleep(0)


async def _needs_store(policy: Policy) -> bool:
    """Whether a store failure fails requests of any limit; yields to the event loop in between."""
    for some in batches(policy.nodes, 200):
        if any(limit.on_store_failure is OnStoreFailure.ERROR for node in some for limit in node.limits):
            return True
        await asyncio.sleep(0)
    return False
