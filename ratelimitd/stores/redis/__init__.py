"""Counters in a Redis: one server, the master of Sentinels or a cluster; one script, and batches of charges.

The store is for services; the rest is for ``ratelimitd doctor``, which asks servers as the store does.
"""

from hiredis import ReplyError

from .connection import RedisConnection, RedisConnectionError, talk
from .dialer import ask_master, ask_slots, dial
from .node import Observer
from .options import ConnectOptions, RedisOptions, Tls
from .probe import probe_key, probe_of
from .script import INDEPENDENT, Script, composed_script, pack_lone, unpack
from .slots import SLOTS, Ranges, ranges, slot_of
from .store import RedisStore

__all__ = [
    "INDEPENDENT",
    "SLOTS",
    "ConnectOptions",
    "Observer",
    "Ranges",
    "RedisConnection",
    "RedisConnectionError",
    "RedisOptions",
    "RedisStore",
    "ReplyError",
    "Script",
    "Tls",
    "ask_master",
    "ask_slots",
    "composed_script",
    "dial",
    "pack_lone",
    "probe_key",
    "probe_of",
    "ranges",
    "slot_of",
    "talk",
    "unpack",
]
