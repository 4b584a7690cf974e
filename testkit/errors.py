"""The error raised if a process or tool that tests or bench need is missing or fails."""

from typing import Final

MISSING: Final = "{} is missing: scripts/bench-system installs it"


class BenchError(Exception):
    """A measurement is not possible; the text gives the reason, and the remedy if it is known."""
