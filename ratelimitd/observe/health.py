"""Which components of the service work: one value that HTTP probes and grpc.health.v1 both show.

The names are envoyproxy/ratelimit's: ``redis``, ``config`` and ``sigterm``, and our own ``policy``. Only a component
that was set counts; one that matters to nobody (Redis, while no limit's failure policy is ``error``) is set to work.
Liveness is no part of this: it asks whether the event loop turns, never whether Redis does.
"""

from collections.abc import Callable

Subscriber = Callable[[bool], None]


class Health:
    """Component name to whether it works and, if not, why. Healthy when all of them do."""

    __slots__ = ("_failing", "_shown", "_subscribers")

    def __init__(self) -> None:
        self._failing: dict[str, str] = {}
        self._shown = True
        self._subscribers: list[Subscriber] = []

    @property
    def healthy(self) -> bool:
        """Whether every component that counts works."""
        return not self._failing

    def set(self, component: str, ok: bool, reason: str = "") -> None:  # noqa: FBT001 a state, and read as one
        """Say how a component is; ``reason`` is shown to operators, so it must hold no secret."""
        if ok:
            self._failing.pop(component, None)
        else:
            self._failing[component] = reason
        self._tell()

    def failing(self) -> list[tuple[str, str]]:
        """Return (component, reason) of those that do not work, in the order of their names."""
        return sorted(self._failing.items())

    def subscribe(self, callback: Subscriber) -> None:
        """Call with ``healthy`` now, and once at each turn from one to the other."""
        self._subscribers.append(callback)
        callback(self.healthy)

    def _tell(self) -> None:
        healthy = self.healthy
        if healthy == self._shown:
            return
        self._shown = healthy
        for callback in self._subscribers:
            callback(healthy)
