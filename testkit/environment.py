"""The environment of a program that a test or a bench starts."""

import os
from typing import Final

from ratelimitd.compiled import PURE

STORE_BUDGET: Final = "2s"
"""STORE_BUDGET of a service whose decisions a test expects. The default of 15 ms is for a Redis that has a core. A
machine that runs tests may stop Redis for a second: the call is then UNAVAILABLE, though Redis charges it."""


def bare() -> dict[str, str]:
    """Return PATH, the build and coverage's own variables: no other setting of the caller's reaches the program."""
    kept = ("PATH", PURE)
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith("COVERAGE_")}
