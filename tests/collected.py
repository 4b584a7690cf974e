"""The tests that there are, for tests that name others."""

import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def collected() -> frozenset[str]:
    """Each test by pytest's name of it, and each with cases by the name that all of them share."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2_000:]
    names = [line for line in done.stdout.splitlines() if "::" in line]
    return frozenset([*names, *(name.partition("[")[0] for name in names)])
