"""Variables of envoyproxy/ratelimit that are not supported: rejected at the start, or ignored with a warning."""

from typing import Any, Final

from ratelimitd.config.values import any_text, boolean
from ratelimitd.settings.rows import Row, RowStatus, Secret


def _refused(name: str, default: str, doc: str, secret: Secret = Secret.NO) -> Row[Any]:
    parse = boolean if default == "false" else any_text
    return Row(parse, default, doc, name=name, status=RowStatus.REFUSED, secret=secret)


def _unread(default: str, doc: str, *names: str) -> list[Row[Any]]:
    return [Row(any_text, default, doc, name=name, status=RowStatus.UNREAD, secret=Secret.WHOLE) for name in names]


_MEMCACHE: Final = "Counters in Memcached; use Redis or memory."
_ALL_AT_ONCE: Final = "All nodes of a cluster are called concurrently."
_PIPELINE: Final = "All decisions of one event-loop iteration go to Redis in one round trip."
_CONNECTS: Final = "The service listens before Redis is available, and connects once it is."

UNBUILT: Final[tuple[Row[Any], ...]] = (
    *_unread(
        "",
        "envoyproxy/ratelimit does not read it either; GRPC_CLIENT_TLS_CACERT makes client certificates mandatory.",
        "GRPC_SERVER_TLS_CA_CERT",
    ),
    _refused("MEMCACHE_HOST_PORT", "", _MEMCACHE),
    _refused("MEMCACHE_SRV", "", _MEMCACHE),
    _refused("USE_CALENDAR_MONTH_RATE_LIMIT", "false", "Calendar months; here a month is 30 days."),
    *_unread("WAIT", "A full pool never opens additional connections.", "REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR"),
    *_unread("0", _PIPELINE, "REDIS_PERSECOND_PIPELINE_WINDOW", "REDIS_PERSECOND_PIPELINE_LIMIT"),
    *_unread("1", _ALL_AT_ONCE, "REDIS_PERSECOND_CLUSTER_PIPELINE_PARALLELISM"),
    *_unread("0", _PIPELINE, "REDIS_PIPELINE_WINDOW", "REDIS_PIPELINE_LIMIT"),
    *_unread("1", _ALL_AT_ONCE, "REDIS_CLUSTER_PIPELINE_PARALLELISM"),
    *_unread("WAIT", "A full pool never opens additional connections.", "REDIS_POOL_ON_EMPTY_BEHAVIOR"),
    *_unread("", "Removed from envoyproxy/ratelimit too.", "REDIS_POOL_ON_EMPTY_WAIT_DURATION"),
    *_unread("", _CONNECTS, "REDIS_STARTUP_INITIAL_INTERVAL", "REDIS_STARTUP_MAX_INTERVAL"),
    *_unread(
        "0",
        "No restart repairs Redis, so the service waits; /healthcheck fails meanwhile, which a startup probe sees.",
        "REDIS_STARTUP_MAX_ELAPSED_TIME",
    ),
    *_unread("false", "Broken connections are always closed.", "REDIS_CLOSE_CONNECTION_ON_READONLY_ERROR"),
    *_unread("0", _MEMCACHE, "MEMCACHE_SRV_REFRESH"),
    *_unread("2", _MEMCACHE, "MEMCACHE_MAX_IDLE_CONNS"),
    *_unread("false", _MEMCACHE, "MEMCACHE_TLS", "MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION"),
    *_unread("", _MEMCACHE, "MEMCACHE_TLS_CLIENT_CERT", "MEMCACHE_TLS_CLIENT_KEY", "MEMCACHE_TLS_CACERT"),
    *_unread("", "envoyproxy/ratelimit flushes by STATS_FLUSH_INTERVAL too.", "GOSTATS_FLUSH_INTERVAL_SECONDS"),
    *_unread("", "No metrics are written to the log.", "GOSTATS_LOGGING_SINK_DISABLED"),
)
