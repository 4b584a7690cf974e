"""The overlay file of a service: read at each load, in the child process; with a fault the last good one stays."""

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from ratelimitd.net.files import read_regular
from ratelimitd.policy import PolicyError, PolicyErrors

if TYPE_CHECKING:
    from ratelimitd.policy_file import Effect, Overlay

OVERLAY_BYTES: Final = 128 << 10
"""Maximum size of the file: 100 entries, the most there may be, of 1.3 kB each."""


class OverlayFile(NamedTuple):
    """An overlay to apply. ``good``: content of the last one without a fault; None: none yet."""

    path: str
    good: bytes | None = None


class EntryEffect(NamedTuple):
    """An entry, and what it does: the limits that it is for, and how many of them it cannot apply to."""

    line: int
    domain: str
    path: tuple[str, ...] | None
    said: dict[str, str]
    limits: int
    left: int


class OverlayReport(NamedTuple):
    """What a load found of an overlay.

    Attributes:
        good: content of the overlay that was applied; None: none.
        version: its SHA-256, in hex; empty: none was applied.
        faults: what is wrong with the file as it is.
        entries: of the overlay that was applied.
    """

    good: bytes | None
    version: str
    faults: tuple[PolicyError, ...]
    entries: tuple[EntryEffect, ...] = ()


class FoundOverlay(NamedTuple):
    """The overlay to apply, None for none, and what is wrong with the file."""

    overlay: "Overlay | None"
    faults: tuple[PolicyError, ...] = ()

    def report(self, effects: Sequence["Effect"]) -> OverlayReport:
        """Return what to tell of it, after it was applied."""
        if self.overlay is None:
            return OverlayReport(None, "", self.faults)
        text = self.overlay.text
        return OverlayReport(text, sha256(text).hexdigest(), self.faults, tuple(map(_entry, effects)))


def find_overlay(file: OverlayFile) -> FoundOverlay:
    """Read an overlay file; if it has a fault, the last good content in its place."""
    from ratelimitd.policy_file import read_overlay  # noqa: PLC0415 -- a service reads it in a child process

    try:
        return FoundOverlay(read_overlay(file.path, read_regular(file.path, OVERLAY_BYTES)))
    except PolicyErrors as errors:
        faults = errors.errors
    except OSError as error:
        faults = (PolicyError(file.path, 0, f"cannot be read: {error.strerror}"),)
    return FoundOverlay(None if file.good is None else read_overlay(file.path, file.good), faults)


def _entry(effect: "Effect") -> EntryEffect:
    from ratelimitd.policy_file import said_in_words  # noqa: PLC0415 -- as above

    entry = effect.entry
    path = None if entry.path is None else tuple(each.text for each in entry.path.elements)
    left = sum(each.count for each in effect.left.values())
    return EntryEffect(entry.line, entry.domain.text, path, said_in_words(entry), effect.limits, left)
