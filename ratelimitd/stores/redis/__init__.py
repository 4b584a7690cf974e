"""Counters in a Redis: one server, the master of Sentinels or a cluster; one script, and batches of charges."""

from .options import ConnectOptions, RedisOptions, Tls
from .server import Observer
from .store import RedisStore

__all__ = ["ConnectOptions", "Observer", "RedisOptions", "RedisStore", "Tls"]
