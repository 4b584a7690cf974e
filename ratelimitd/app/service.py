"""The parts of a running service, and how they are."""

from typing import NamedTuple

from ratelimitd.observe.health import Health
from ratelimitd.settings import Settings

from .engine import Parts
from .policies import Policies


class Service(NamedTuple):
    """What runs. ``health`` is upstream's and gRPC's; ``readiness`` also asks for a policy, and never for Redis."""

    settings: Settings
    parts: Parts
    policies: Policies
    health: Health
    readiness: Health

    async def reload(self) -> None:
        """Take over the policy as it is now."""
        await self.policies.reload()
        self.judge()

    def judge(self) -> None:
        """Say how the components are, after any of them may have changed (contract: ``redis``, ``config``)."""
        settings, in_force, redis = self.settings, self.policies.in_force, self.parts.redis
        waits_for_policy = not in_force.generation and not settings.force_start_without_initial_config
        for health in (self.health, self.readiness):
            health.set("policy", not waits_for_policy, "no policy is loaded yet")
        if settings.healthy_with_at_least_one_config_loaded:
            self.health.set("config", in_force.domains > 0, "no domain is configured")
        if redis is not None:
            needed = in_force.needs_store or not in_force.generation
            self.health.set("redis", redis.connected or not needed, "not connected")

    @property
    def store_name(self) -> str:
        """Where counts live, for people."""
        return "memory" if self.settings.redis is None else f"redis at {self.settings.redis}"
