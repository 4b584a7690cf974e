"""What edges need to trace: contexts, and a place for spans."""

from collections.abc import Callable

from ratelimitd.limiter import Answer, Ask, Modes
from ratelimitd.observe.logs import get_logger

from .context import Context, Parent, Sampler
from .decision import decision
from .exporter import Exporter
from .span import Attributes, Span

log = get_logger(__name__)


class Tracer:
    """The sampler and the exporter of a process. No method raises: a span must not cost a call.

    Attributes:
        host: name of this host, ``server.address`` of its spans.
    """

    def __init__(self, sampler: Sampler, exporter: Exporter, host: str) -> None:
        self.exporter = exporter
        self.host = host
        self._sampler = sampler
        self._failed = False

    def begin(self, parent: Parent | None) -> Context:
        """Return the context of the span of a request with this parent."""
        return self._sampler.begin(parent)

    def record(self, make: Callable[[], Span]) -> None:
        """Take the span that ``make`` returns; never waits."""
        try:
            self.exporter.add(make())
        except Exception as error:  # noqa: BLE001 -- logged once
            self._tell(error)

    def decision(self, ask: Ask, answer: Answer, modes: Modes) -> Attributes:
        """Return the attributes of a decision; none if they cannot be made."""
        try:
            return decision(ask, answer, modes)
        except Exception as error:  # noqa: BLE001 -- logged once
            self._tell(error)
            return {}

    def _tell(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            log.error("a span cannot be made, and others may be missing", exc_info=error)
