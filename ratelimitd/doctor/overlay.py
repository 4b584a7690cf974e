"""Check of the overlay, read as the service reads it; what its entries are for is told with the policy."""

from collections.abc import AsyncIterator
from typing import Final

from ratelimitd.sources import OverlayFile, find_overlay

from .finding import Finding, bad, ok
from .policy import SHOWN
from .target import CheckTarget

OVERLAY: Final = "overlay"


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Read the overlay, if there is one."""
    path = target.settings.policy_overlay
    if not path:
        return
    found = find_overlay(OverlayFile(path))
    for fault in found.faults[:SHOWN]:
        change = "correct the file; docs/overlay.md describes every key"
        yield bad(OVERLAY, str(fault), change if fault.line else "check the path and whether this user may read it")
    if found.overlay is not None:
        yield ok(OVERLAY, f"{path}, entries: {len(found.overlay.entries)}")
