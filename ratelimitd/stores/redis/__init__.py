"""Counters in Redis: a single server, the master named by Sentinels, or a cluster. One script charges batches.

The store serves requests. The other names are for ``ratelimitd doctor``, which connects to servers as the store does.
"""

from hiredis import ReplyError

from .connection import RedisConnection, RedisConnectionError
from .dialer import ask_master, ask_slots, dial
from .node import Observer, Pool
from .opening import execute
from .options import ConnectOptions, RedisOptions, Tls
from .packing import open_selections, pack
from .probe import probe_key, probe_of
from .replies import unpack
from .script import Script, composed_script
from .sharding import Sharding, trial_keys, try_sharding
from .slots import SLOTS, Ranges, ranges, slot_of
from .store import RedisStore

__all__ = [
    "SLOTS",
    "ConnectOptions",
    "Observer",
    "Pool",
    "Ranges",
    "RedisConnection",
    "RedisConnectionError",
    "RedisOptions",
    "RedisStore",
    "ReplyError",
    "Script",
    "Sharding",
    "Tls",
    "ask_master",
    "ask_slots",
    "composed_script",
    "dial",
    "execute",
    "open_selections",
    "pack",
    "probe_key",
    "probe_of",
    "ranges",
    "slot_of",
    "trial_keys",
    "try_sharding",
    "unpack",
]
