"""Health of the service by component, one for each kind of probe.

The component names are those of envoyproxy/ratelimit (``redis``, ``config``, ``sigterm``), plus ``policy``. Only
components that were set are considered; one that is not required (Redis, while no limit's failure policy is ``error``)
is set to healthy. Liveness is separate: it depends only on the event loop, never on Redis.
"""

from collections.abc import Callable

Subscriber = Callable[[bool], None]


class Health:
    """State of each component, with the reason if it fails. Healthy if no component fails."""

    __slots__ = ("_failing", "_passed", "_reported", "_subscribers")

    def __init__(self) -> None:
        self._failing: dict[str, str] = {}
        self._passed: set[str] = set()
        self._reported = True
        self._subscribers: list[Subscriber] = []

    @property
    def healthy(self) -> bool:
        """Whether no component fails."""
        return not self._failing

    def set(self, component: str, ok: bool, reason: str = "") -> None:
        """Set the state of a component; ``reason`` is shown to operators and must not contain a secret."""
        if ok:
            self._failing.pop(component, None)
        else:
            self._failing[component] = reason
        self._notify()

    def set_once(self, component: str, ok: bool, reason: str = "") -> None:
        """Set the state of a component that must have been healthy once, and is healthy from then on."""
        if ok:
            self._passed.add(component)
        self.set(component, component in self._passed, reason)

    def excuse(self, component: str) -> None:
        """Take a component of ``set_once`` as one that has been healthy."""
        self.set_once(component, ok=True)

    def failing(self) -> list[tuple[str, str]]:
        """Return (component, reason) of the failing components, sorted by name."""
        return sorted(self._failing.items())

    def subscribe(self, callback: Subscriber) -> None:
        """Call ``callback`` with ``healthy`` now and after each change."""
        self._subscribers.append(callback)
        callback(self.healthy)

    def _notify(self) -> None:
        healthy = self.healthy
        if healthy == self._reported:
            return
        self._reported = healthy
        for callback in self._subscribers:
            callback(healthy)
