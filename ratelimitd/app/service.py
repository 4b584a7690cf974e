"""The parts of a running service, and their health."""

from typing import TYPE_CHECKING, NamedTuple

from ratelimitd.observe.health import Health
from ratelimitd.observe.logs import get_logger, masked
from ratelimitd.policy import PolicyErrors
from ratelimitd.settings import Settings
from ratelimitd.sources import Pushed

from .engine import Parts
from .policies import Policies

if TYPE_CHECKING:
    from ratelimitd.tracing import Tracer

    from .control_plane import Plane

log = get_logger(__name__)


class RunningService(NamedTuple):
    """A running service.

    Attributes:
        health: that of /healthcheck, as upstream's; liveness probes use it. If a limit's failure policy is ``error``,
            Redis must have been available once, or the start be some time ago.
        serving: that of gRPC. It follows Redis while a limit's failure policy is ``error``.
        readiness: requires a policy, and an overlay if POLICY_OVERLAY_REQUIRED says so, but never Redis.
        plane: the control plane that pushes the policy; None: files.
        tracer: takes the spans; None without TRACING_ENABLED.
    """

    settings: Settings
    parts: Parts
    policies: Policies
    health: Health
    serving: Health
    readiness: Health
    plane: "Plane | None" = None
    tracer: "Tracer | None" = None

    async def reload(self) -> None:
        """Load and activate the current policy."""
        await self.policies.reload()
        self.update_health()

    async def look(self) -> None:
        """Read the overlay of a policy that is yet to be pushed."""
        await self.policies.look()
        self.update_health()

    async def take(self, pushed: Pushed) -> PolicyErrors | None:
        """Activate a policy that was pushed, or return its errors."""
        errors = await self.policies.take(pushed)
        self.update_health()
        return errors

    def update_health(self) -> None:
        """Update the health of the components after a possible change (upstream's names: ``redis``, ``config``)."""
        settings, active, redis = self.settings, self.policies.active, self.parts.redis
        waits_for_policy = not active.generation and not settings.force_start_without_initial_config
        for health in (self.health, self.serving, self.readiness):
            health.set("policy", not waits_for_policy, "no policy is loaded yet")
        overlay = self.policies.overlay
        if overlay is not None:
            self.readiness.set("overlay", not overlay.missing, overlay.missing)
        if settings.healthy_with_at_least_one_config_loaded:
            for health in (self.health, self.serving):
                health.set("config", active.domains > 0, "no domain is configured")
        if redis is not None:
            needed = active.needs_store or not active.generation
            well = not (needed and redis.topology.trouble)
            self.serving.set("redis", well, "calls to Redis fail")
            if settings.redis_health_check_active_connection:
                self.health.set("redis", redis.connected, "not connected")
            else:
                self.health.set_once("redis", well, "not connected yet")

    def wait_no_longer(self) -> None:
        """Have /healthcheck pass without Redis from now on: a pod that is restarted would wait for it again."""
        if self.settings.redis_health_check_active_connection:
            return
        if "redis" in dict(self.health.failing()):
            log.warning("redis was not available since the start", note="/healthcheck no longer waits for it")
        self.health.excuse("redis")

    def notes(self) -> list[tuple[str, str]]:
        """Return what else /readyz tells: faults of Redis and of the overlay, and the state of the control plane."""
        redis = self.parts.redis
        trouble = "" if redis is None else redis.topology.trouble
        noted = [("redis", trouble)] if trouble else []
        overlay = self.policies.overlay
        if overlay is not None and overlay.note and not overlay.missing:
            noted.append(("overlay", overlay.note))
        if self.plane is not None:
            noted.append(("control plane", self.plane.in_words()))
        return [(component, masked(text)) for component, text in noted]

    @property
    def store_name(self) -> str:
        """Location of the counters, for logs."""
        return "memory" if self.settings.redis is None else f"redis at {self.settings.redis}"
