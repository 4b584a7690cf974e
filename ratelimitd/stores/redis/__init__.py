"""Counters in a Redis: a link of our own, one script, and batches of charges."""

from .options import Address, AddressError, RedisOptions, parse_address
from .store import RedisStore

__all__ = ["Address", "AddressError", "RedisOptions", "RedisStore", "parse_address"]
