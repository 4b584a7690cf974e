"""What measures or sends in the background while a process serves."""

from contextlib import AsyncExitStack
from typing import Protocol

from ratelimitd.observe.metrics import Family
from ratelimitd.settings import Settings

from .engine import Parts
from .named_limits import NamedLimits
from .policies import Policies
from .statsd import reporters


class Measuring(Protocol):
    """A task with metrics of its own."""

    def families(self) -> list[Family]:
        """Return its metrics."""

    async def run(self) -> None:
        """Work until cancelled."""


def measuring(
    settings: Settings, parts: Parts, policies: Policies, stack: AsyncExitStack, *, with_service: bool = True
) -> tuple[Measuring, ...]:
    """Return the tasks that the settings want. Raises StartError."""
    gauges = () if settings.disable_stats else (NamedLimits(parts, policies),)
    return (*gauges, *reporters(settings, parts, stack, with_service=with_service))
