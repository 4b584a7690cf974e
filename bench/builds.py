"""What runs ratelimitd in a comparison: its compiled modules, their sources interpreted, or Python's grpcio."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from testkit import server
from testkit.environment import bare

PURE: Final = {"RATELIMITD_PURE": "1"}
"""Runs the sources of the compiled modules."""

STORE_BUDGET: Final = "1s"
"""Budget of a call to Redis where it shares a core with the load: a slow answer must count as latency, not as a failed
call, and the default of 15 ms is for a Redis that has a core."""

SHIPPED, INTERPRETED, GRPCIO = "ratelimitd", "interpreted", "grpcio"
OURS: Final = (SHIPPED, INTERPRETED, GRPCIO)

_HOT: Final = "ratelimitd.limiter.engine"
"""A module of the path of each call."""


class Build(NamedTuple):
    """A way to run ratelimitd.

    Attributes:
        name: in the column "served by".
        transport: of the gRPC port.
        env: settings of the service.
    """

    name: str
    transport: str
    env: Mapping[str, str] = {}


def builds() -> tuple[list[Build], list[str]]:
    """Return the ways that can be measured, the one that users have first, and a note for each that cannot."""
    transports, notes = server.transports()
    found = []
    if "nghttp2" in transports:
        if compiled():
            found = [Build(SHIPPED, "nghttp2"), Build(INTERPRETED, "nghttp2", PURE)]
        else:
            found = [Build(INTERPRETED, "nghttp2")]
            notes.append(f"{SHIPPED}: not measured, {_HOT} is not compiled here")
    return [*found, Build(GRPCIO, "grpcio")], notes


def compiled() -> bool:
    """Return whether a service that is started here runs compiled modules."""
    return not _found(_HOT).endswith(".py")


def compiled_bytes() -> int:
    """Return the size of the files that mypyc made; 0 if a service that is started here runs none of them."""
    package = Path(_found("ratelimitd")).parent
    modules = [path for path in package.rglob("*.so") if path.with_name(f"{path.name.partition('.')[0]}.py").exists()]
    made = [*modules, *package.parent.glob("ratelimitd__mypyc*.so")]
    return sum(path.stat().st_size for path in made) if compiled() else 0


def _found(module: str) -> str:
    """Return the file of a module, as a service imports it."""
    look = f"import importlib.util as u; print(u.find_spec('{module}').origin)"
    said = subprocess.run([sys.executable, "-c", look], env=bare(), capture_output=True, text=True, check=True)
    return said.stdout.strip()
