"""The one error of a process or tool that tests or benches need."""

from typing import Final

MISSING: Final = "{} is missing: scripts/bench-system installs it"


class BenchError(Exception):
    """Something that cannot be measured here; the text says why, and how to mend it where that is known."""
