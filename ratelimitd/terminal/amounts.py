"""Numbers, times, bars and sparklines in a few columns."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from rich.text import Text

NONE: Final = "·"
"""In place of a number that is 0 or unknown: a table of zeros is hard to read."""

_THOUSANDS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BYTES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_SPANS: Final = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ROUNDED: Final = 0.9995
"""From this share of a thousand on, a number with three digits is shown as the next larger unit."""

_MOST: Final = 999e12

FULL, NEAR = 0.999, 0.8
"""Shares of a limit from which its use is shown in red, and in yellow."""


def count(value: float | None) -> str:
    """Format as 7, 0.25, 1.2k or 3.45M, in at most five columns up to 999T."""
    if not value:
        return NONE
    value = min(value, _MOST)
    for unit, name in _THOUSANDS:
        if value >= unit * _ROUNDED:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}" if value >= 0.01 else "<0.01"


def size(value: float | None) -> str:
    """Format bytes as 512 B, 1.5 KiB or 64 MiB."""
    for unit, name in _BYTES:
        if value is not None and value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value or 0:.0f} B"


def span(seconds: float | None) -> str:
    """Format seconds as 41 s, 2 min 5 s, 3 h 20 min or 2 d 4 h."""
    if seconds is None:
        return NONE
    whole = max(0, round(min(seconds, 1e12)))
    for unit, name, less, lesser in _SPANS:
        if whole >= unit:
            rest = whole % unit // less
            return f"{whole // unit} {name}" + (f" {rest} {lesser}" if rest else "")
    return f"{whole} s"


def clock(seconds: float | None) -> str:
    """Format seconds of the epoch as 12:03:04 in local time."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds)) if seconds is not None else "--:--:--"
    except (OverflowError, ValueError, OSError):
        return "--:--:--"


def bar(share: float | None, width: int) -> Text:
    """Draw a share of 1 with its percentage behind it; ``width`` columns in all."""
    if share is None:
        return Text(NONE.rjust(width))
    share = min(max(share, 0.0), 1.0)
    style = "red" if share >= FULL else "yellow" if share >= NEAR else "green"
    columns = max(width - 5, 0)
    filled = round(share * columns) or (1 if share and columns else 0)
    percent = int(share * 100) if share < FULL else 100
    return Text.assemble(("█" * filled, style), ("░" * (columns - filled), "dim"), (f"{percent:>4}%", style))


def sparkline(allowed: Sequence[float], denied: Sequence[float], width: int) -> Text:
    """Draw a row of columns, the newest at the right; red where some were denied, blank where there was nothing."""
    both = list(zip(allowed, denied, strict=False))
    if not both or width < 1:
        return Text()
    columns = min(width, len(both))
    cuts = [len(both) * each // columns for each in range(columns + 1)]
    groups = [both[start:end] for start, end in pairwise(cuts)]
    heights = [max(sum(pair) for pair in group) for group in groups]
    most = max(heights)
    line = Text()
    for group, height in zip(groups, heights, strict=True):
        if height <= 0:
            line.append(" ")
        else:
            block = _BLOCKS[min(len(_BLOCKS) - 1, int(height / most * len(_BLOCKS)))]
            line.append(block, style="red" if any(pair[1] > 0 for pair in group) else "green")
    return line
