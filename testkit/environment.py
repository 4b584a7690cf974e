"""The environment of a program that a test or a bench starts."""

import os

from ratelimitd.compiled import PURE


def bare() -> dict[str, str]:
    """Return PATH, the build and coverage's own variables: no other setting of the caller's reaches the program."""
    kept = ("PATH", PURE)
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith("COVERAGE_")}
