"""The environment of a program that a test or a bench starts."""

import os


def bare() -> dict[str, str]:
    """Return PATH and coverage's own variables alone, so that no setting of the caller's reaches the program."""
    return {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE_")}
