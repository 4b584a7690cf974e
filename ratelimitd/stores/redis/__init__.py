"""Counters in a Redis: one server, the master of Sentinels or a cluster; one script, and batches of charges."""

from .node import Observer
from .options import ConnectOptions, RedisOptions, Tls
from .store import RedisStore

__all__ = ["ConnectOptions", "Observer", "RedisOptions", "RedisStore", "Tls"]
