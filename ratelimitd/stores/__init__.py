"""Stores: where counters live."""

from .memory import MemoryStore
from .redis import RedisStore

__all__ = ["MemoryStore", "RedisStore"]
