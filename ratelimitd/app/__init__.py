"""Wiring of a service from its settings, and the life cycle of the process."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # else grpcio writes a line to stderr for each child process

from .serve import run

__all__ = ["run"]
