"""From options to the topology of a deployment, or of two."""

from collections.abc import Callable, Mapping
from typing import Final

from .cluster import Cluster
from .node import Watcher
from .options import ConnectOptions, RedisOptions
from .script import Script
from .single import Sentinel, Single
from .topology import Split, Topology

KINDS: Final[Mapping[str, Callable[..., Topology]]] = {"single": Single, "sentinel": Sentinel, "cluster": Cluster}


def topology_of(options: RedisOptions, script: Script, watcher: Watcher) -> Topology:
    """Return the topology that has the counters; nothing is connected yet."""

    def made(redis: ConnectOptions) -> Topology:
        return KINDS[redis.deployment.kind](redis, script, options, watcher)

    second = options.per_second
    return made(options.main) if second is None else Split(made(options.main), made(second))
