"""Counters in a Redis: one server, the master of Sentinels or a cluster; one script, and batches of charges."""

from .options import Address, Credentials, Place, RedisOptions, Tls
from .server import Observer
from .store import RedisStore

__all__ = ["Address", "Credentials", "Observer", "Place", "RedisOptions", "RedisStore", "Tls"]
