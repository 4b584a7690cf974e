"""An overlay: entries that say nothing of any limit, or cannot say it."""

from collections.abc import Iterable

from ratelimitd.config.yaml_nodes import load_yaml
from ratelimitd.policy_file import Document, Effect, Origin, Overlay

from .rules import Findings, finding
from .written import repeated_keys


def check_overlay(overlay: Overlay, effects: Iterable[Effect]) -> Findings:
    """Find what has no effect: of its text, and of its entries on one policy."""
    root = load_yaml(overlay.text)
    if root is not None:
        yield from repeated_keys(Document(overlay.file, root))
    for effect in effects:
        place = Origin(overlay.file, effect.entry.line)
        if effect.unused:
            yield finding("overlay-unmatched", place, what="limit" if effect.domains else "domain")
        for left in effect.left.values():
            named = ", ".join(f"'{name}'" for name in left.first)
            others = f" and {left.count - len(left.first)} more" if left.count > len(left.first) else ""
            yield finding("overlay-left", place, limits=f"{named}{others}", why=left.why)
