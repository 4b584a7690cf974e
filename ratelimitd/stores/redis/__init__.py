"""Counters in a Redis: a link of our own, one script, and batches of charges."""

from .options import Address, RedisOptions
from .store import RedisStore

__all__ = ["Address", "RedisOptions", "RedisStore"]
