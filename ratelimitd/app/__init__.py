"""Wiring: from settings to a running service, and from a signal to its end."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # else grpcio writes a line to stderr for each child we start

from .serve import run

__all__ = ["run"]
