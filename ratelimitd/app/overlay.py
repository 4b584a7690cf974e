"""The overlay of a service, as its loads have found it: what is in force, and what is wrong with the file."""

from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.metrics import Family, single
from ratelimitd.settings import Settings
from ratelimitd.sources import OverlayFile, OverlayReport

log = get_logger(__name__)

ERRORS_LOGGED = 20
"""Faults of an overlay that are logged, or shown: a screenful; ``ratelimitd validate`` lists all."""

NOT_READ = "it has not been read yet"


class ActiveOverlay:
    """An overlay file.

    Attributes:
        path: of the file.
        applied: what the policy in force was loaded with.
        read: whether a load has read it.
        faults: what is wrong with the file as it was read last; empty: nothing, or it was not read yet.
    """

    def __init__(self, path: str, *, required: bool) -> None:
        self.path = path
        self.applied = OverlayReport(None, "", ())
        self.faults: tuple[str, ...] = ()
        self._required = required
        self._good: bytes | None = None
        self.read = False

    @property
    def file(self) -> OverlayFile:
        """The file, with the content to use while it has a fault."""
        return OverlayFile(self.path, self._good)

    @property
    def missing(self) -> str:
        """Why the service must not be ready without it; empty: it may be."""
        if not self._required or self._good is not None:
            return ""
        return f"no overlay is in force: {self.faults[0] if self.faults else NOT_READ}"

    @property
    def note(self) -> str:
        """What is wrong with it; empty for nothing."""
        return f"{self.faults[0]}; {self._stays}" if self.faults else ""

    def found(self, report: OverlayReport) -> None:
        """Take what a load found; a fault is logged once."""
        faults = tuple(map(str, report.faults))
        self._good, self.read = report.good, True
        before, self.faults = self.faults, faults
        if faults and faults != before:
            log.error("overlay rejected", errors=len(faults), note=self._stays)
            for fault in faults[:ERRORS_LOGGED]:
                log.error(fault)
        elif before and not faults:
            log.info("overlay accepted", overlay_version=report.version)

    def as_json(self) -> dict[str, object]:
        """Return its state for the admin API."""
        applied = self.applied
        return {
            "path": self.path,
            "version": applied.version,
            "entries": [entry._asdict() for entry in applied.entries],
            "faults": list(self.faults[:ERRORS_LOGGED]),
        }

    def families(self) -> list[Family]:
        """Return its metrics."""
        return [
            single(
                "ratelimitd_overlay_refused", "gauge", "1 while the overlay file has a fault, or cannot be read.",
                lambda: int(bool(self.faults)),
            ),
            Family(
                "ratelimitd_overlay_info", "gauge", "Hash of the overlay that the active policy was loaded with.",
                ("version",), lambda: [((self.applied.version,), 1)] if self.applied.version else [],
            ),
        ]  # fmt: skip

    @property
    def _stays(self) -> str:
        return "no overlay applies" if self._good is None else "the last good overlay stays"


def overlay_of(settings: Settings) -> ActiveOverlay | None:
    """Return the overlay of the settings, which no load has read yet."""
    path = settings.policy_overlay
    return ActiveOverlay(path, required=settings.policy_overlay_required) if path else None
