"""Modes that apply to every limit of a process: SHADOW_MODE and QUOTA_MODE."""

from typing import Final, NamedTuple


class Modes(NamedTuple):
    """Modes, set once at startup.

    Attributes:
        shadow: SHADOW_MODE: the overall code is always OK; statuses and counters stay as they are.
        quota: QUOTA_MODE: every limit is a quota limit.
    """

    shadow: bool = False
    quota: bool = False


ENFORCED: Final = Modes()
"""Neither mode."""
