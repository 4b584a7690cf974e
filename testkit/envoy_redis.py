"""A real Envoy as a proxy in front of Redis servers: keys spread by hash, or a cluster behind one address."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from testkit.envoy import cluster, envoy


def _bootstrap(redis: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of an Envoy that forwards Redis commands to this cluster of its own."""
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "stat_prefix": "redis",
        "settings": {"op_timeout": "5s"},
        "prefix_routes": {"catch_all_route": {"cluster": redis["name"]}},
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.redis_proxy", "typed_config": proxy}]}],
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": [listener], "clusters": [redis]},
    }


@asynccontextmanager
async def spreading_proxy(addresses: Sequence[str], folder: Path) -> AsyncIterator[str]:
    """Run an Envoy that sends each command to one of these servers, by the hash of its first key; yields host:port."""
    async with envoy(_bootstrap(cluster("redis", list(addresses)) | {"lb_policy": "MAGLEV"}), folder) as running:
        yield running.url.removeprefix("http://")


@asynccontextmanager
async def cluster_proxy(addresses: Sequence[str], folder: Path) -> AsyncIterator[str]:
    """Run an Envoy in front of a Redis cluster, of which these are some nodes; yields host:port."""
    discovered = {
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.redis",
            "typed_config": {
                "@type": "type.googleapis.com/google.protobuf.Struct",
                "value": {"cluster_refresh_rate": "1s"},
            },
        },
    }
    redis = cluster("redis", list(addresses)) | discovered
    del redis["type"]
    async with envoy(_bootstrap(redis), folder) as running:
        yield running.url.removeprefix("http://")
