"""The table: every variable envoyproxy/ratelimit reads, and our own.

What works is an attribute of ``Settings``; its row is read on the class. What does not is in ``UNBUILT``.
"""

from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

from ratelimitd.config.values import (
    EVERYWHERE,
    address,
    bearer,
    boolean,
    choice,
    duration,
    header,
    host_port,
    integer,
    path,
    port_number,
    positive_duration,
    ratio,
    size,
    text,
)
from ratelimitd.settings.redis_url import Kind, RedisPlace, credentials, redis_parts, redis_place
from ratelimitd.settings.rows import Row, Secret, Status

ALGORITHMS: Final = ("fixed_window", "sliding_window_counter", "sliding_window", "token_bucket", "gcra", "leaky_bucket")
"""Written out because this module imports nothing of ours; a test holds it against the algorithms themselves."""

LOG_LEVELS: Final = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")

_NOT_XDS: Final = "serve the policy from files (CONFIG_TYPE=FILE) until it is"
_NOT_MEMCACHE: Final = "write redis with REDIS_URL, or memory"
_ANY_KIND: Final = choice("single", "sentinel", "cluster")
_PLACE: Final = (
    "host:port, redis://[user:password@]host[:port][/database], rediss://… for TLS, or the path of a unix socket. "
    "A cluster: some nodes, a comma between two. Sentinel: the name of the master, then some Sentinels."
)
_TIMEOUT: Final = (
    "How long a connection may take to be made and greeted. Upstream's default is 10s; a store that must answer "
    "within milliseconds is near, and an attempt that hangs keeps the next one waiting."
)


def _kind(value: str) -> Kind:
    return cast("Kind", _ANY_KIND(value))


def _credentials(value: str) -> tuple[str, str] | None:
    return credentials(value) if value else None


class Settings:
    """All settings that work, parsed; frozen. Durations are seconds, sizes bytes. Made by ``load``.

    Attributes:
        warnings: sentences to log once, at the start.
    """

    warnings: tuple[str, ...]

    def __init__(self, values: Mapping[str, Any], warnings: tuple[str, ...] = ()) -> None:
        """Take a parsed value for each row that works, by its name, and fill in the defaults."""
        for row in _working():
            value = values[row.name] if row.name in values else row.parse(row.default)
            self.__dict__[row.name.lower()] = value
        self.__dict__["warnings"] = warnings

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings are frozen: {name}")

    def __repr__(self) -> str:
        return "Settings(...)"

    @property
    def redis(self) -> RedisPlace | None:
        """Where Redis is; None: counters live in memory. Raises ValueError, though not once ``load`` has looked."""
        return redis_place(self.redis_type, self.redis_url or self.redis_addr)

    @property
    def per_second(self) -> RedisPlace | None:
        """Where limits a second have their counters; None: with the others. Raises ValueError as ``redis`` does."""
        return redis_place(self.redis_persecond_type, self.redis_persecond_url) if self.redis_persecond else None

    # What listens where
    host = Row(address, EVERYWHERE, "Address of HTTP: /healthcheck, /livez, /readyz, /json, /metrics; :: works.")
    port = Row(port_number, "8080", "Port of HTTP; 0: a free one.")
    debug_host = Row(address, EVERYWHERE, "Address of the debug HTTP: /rlconfig.")
    debug_port = Row(port_number, "6070", "Port of the debug HTTP; 0: a free one.")
    admin_token = Row(
        lambda value: bearer(value) if value else "",
        "",
        "The bearer token of the admin API on the debug port, 16 characters or more; unset, and no ADMIN_TOKEN_FILE: "
        "there is no admin API.",
        secret=Secret.WHOLE,
    )
    admin_token_file = Row(text, "", "File that holds it instead; read again when it changes.")
    admin_remote = Row(boolean, "false", "Let the admin API answer callers that are not on this host (loopback).")
    grpc_host = Row(address, EVERYWHERE, "Address of gRPC, which Envoy calls; :: works.")
    grpc_port = Row(port_number, "8081", "Port of gRPC; 0: a free one.")
    grpc_uds = Row(text, "", "Path of a unix socket for gRPC, which replaces GRPC_HOST and GRPC_PORT.")
    grpc_server_use_tls = Row(boolean, "false", "TLS on gRPC.")
    grpc_server_tls_cert = Row(text, "", "PEM file of the certificate chain; read again when it changes.")
    grpc_server_tls_key = Row(text, "", "PEM file of its key.")
    grpc_client_tls_cacert = Row(text, "", "PEM file of a CA; set: every client needs a certificate of it.")
    grpc_client_tls_san = Row(text, "", "Name (SAN) that a client's certificate must have.")
    transport = Row(
        choice("auto", "nghttp2", "grpcio"),
        "auto",
        "What carries gRPC. nghttp2: the fast one, an extension that needs a C compiler and libnghttp2 at install. "
        "grpcio: the portable one. auto: the fast one where it was built.",
    )
    grpc_max_connection_age = Row(duration, "24h", "A gRPC connection this old is asked to close, ±10 %; 0: never.")
    grpc_max_connection_age_grace = Row(positive_duration, "1h", "Calls on such a connection have this long to end.")
    graceful_shutdown_timeout = Row(
        duration, "15s", "After SIGTERM and the drain, calls in flight have this long; half of Kubernetes' usual 30 s."
    )
    drain_delay = Row(
        duration,
        "5s",
        "After SIGTERM health fails at once and calls are still taken this long, so that Envoy and Kubernetes can "
        "see it and look elsewhere; Kubernetes takes some seconds to spread the news that a pod ends.",
    )

    # The fallback proxy
    listen_addr = Row(
        lambda value: host_port(value) if value else None,
        "",
        "host:port of `ratelimitd proxy`; unset: what its file says, else :8080.",
    )
    downstream_url = Row(
        text, "http://localhost:8081", "Where `ratelimitd proxy` sends requests when it has no file that says so."
    )
    identity_secret = Row(
        text,
        "",
        "API keys of a policy's identity are counted by their HMAC with this; unset: by their plain SHA-256.",
        secret=Secret.WHOLE,
    )

    # Logs
    log_level = Row(
        choice(*LOG_LEVELS),
        "info",
        "The least level logged: trace, debug, info, warn, error, fatal, panic. Upstream's default is warn, which "
        "it also gives to its start lines; ours are info, so that is the default.",
    )
    log_format = Row(
        choice("auto", "json", "text"),
        "auto",
        "json: one object a line, with @timestamp and @message as upstream. text: for people. "
        "auto: text on a terminal, else json. Upstream's default is text.",
    )
    log_decisions = Row(boolean, "false", "Log every decision; for trying the service out, not for traffic.")

    # The policy
    config_type = Row(choice("FILE", unbuilt={"GRPC_XDS_SOTW": _NOT_XDS}), "FILE", "Where the policy comes from.")
    force_start_without_initial_config = Row(boolean, "false", "Be ready before a first policy was loaded.")
    runtime_root = Row(text, "/srv/runtime_data/current", "Folder of the policy, unless --config names it.")
    runtime_subdirectory = Row(text, "", "Folder below RUNTIME_ROOT.")
    runtime_appdirectory = Row(text, "config", "Folder of the policy files below that.")
    runtime_ignoredotfiles = Row(
        boolean, "false", "Skip names that start with a dot; Kubernetes' own, with two, always are."
    )
    runtime_watch_root = Row(
        boolean, "true", "true: watch RUNTIME_ROOT, a symlink that is swapped. false: watch the folder of the files."
    )
    merge_domain_config = Row(boolean, "false", "Let several files give descriptors to one domain.")
    default_algorithm = Row(
        choice(*ALGORITHMS),
        "fixed_window",
        f"Algorithm of a limit when neither it nor its domain names one: {', '.join(ALGORITHMS)}. "
        "The default is upstream's only one.",
    )

    # Counters
    backend_type = Row(
        choice("", "memory", "redis", unbuilt={"memcache": _NOT_MEMCACHE}),
        "",
        "memory or redis. Unset: redis when REDIS_URL or REDIS_ADDR is set, else memory.",
    )
    memory_max_bytes = Row(
        size(1 << 20),
        "256MiB",
        "Memory for counters; past it, expired ones go first. Half of a small container's 512 MiB.",
    )
    redis_url = Row(redis_parts, "", _PLACE, secret=Secret.USERINFO)
    redis_addr = Row(redis_parts, "", "Another name for REDIS_URL, meant for host:port.", secret=Secret.USERINFO)
    redis_socket_type = Row(
        choice("", "tcp", "unix"), "", "tcp or unix; unset: seen from REDIS_URL. Upstream's default is unix."
    )
    redis_type = Row(_kind, "single", "single, sentinel or cluster: what REDIS_URL names.")
    redis_auth = Row(_credentials, "", "password or user:password.", secret=Secret.WHOLE)
    redis_auth_file = Row(
        text, "", "File that holds what REDIS_AUTH would; read for each new connection, so that it may change."
    )
    redis_sentinel_auth = Row(
        _credentials, "", "password or user:password of the Sentinels themselves.", secret=Secret.WHOLE
    )
    redis_pool_size = Row(integer(1, 1024), "10", "Connections to a server at most; a busy event loop needs few.")
    redis_timeout = Row(positive_duration, "500ms", _TIMEOUT)
    redis_tls = Row(boolean, "false", "TLS to Redis, and to its Sentinels.")
    redis_tls_cacert = Row(text, "", "PEM file of the CA of their certificates; unset: what the system trusts.")
    redis_tls_client_cert = Row(text, "", "PEM file of our certificate, where they ask for one; read again when new.")
    redis_tls_client_key = Row(text, "", "PEM file of its key.")
    redis_tls_skip_hostname_verification = Row(
        boolean,
        "false",
        "Take any certificate of the CA, whatever the name in it; for nodes that a cluster names by IP.",
    )
    redis_persecond = Row(boolean, "false", "A second Redis, for limits with a window of one second.")
    redis_persecond_url = Row(redis_parts, "", "As REDIS_URL, of the second one.", secret=Secret.USERINFO)
    redis_persecond_socket_type = Row(choice("", "tcp", "unix"), "", "As REDIS_SOCKET_TYPE.")
    redis_persecond_type = Row(_kind, "single", "As REDIS_TYPE.")
    redis_persecond_auth = Row(_credentials, "", "As REDIS_AUTH.", secret=Secret.WHOLE)
    redis_persecond_auth_file = Row(text, "", "As REDIS_AUTH_FILE.")
    redis_persecond_sentinel_auth = Row(_credentials, "", "As REDIS_SENTINEL_AUTH.", secret=Secret.WHOLE)
    redis_persecond_pool_size = Row(integer(1, 1024), "10", "As REDIS_POOL_SIZE.")
    redis_persecond_timeout = Row(positive_duration, "500ms", "As REDIS_TIMEOUT.")
    redis_persecond_tls = Row(boolean, "false", "As REDIS_TLS, of the second Redis alone; the files are the same.")
    store_budget = Row(
        positive_duration,
        "15ms",
        "How long a decision may wait for its counters; Envoy itself waits 20 ms. A call with a shorter deadline "
        "of its own has that less 3 ms.",
    )
    store_in_flight = Row(
        integer(1),
        "10000",
        "Charges that may wait for Redis at once, and gRPC calls that may be open, before more are turned away; at "
        "15 ms each that is 600,000 a second.",
    )
    new_keys_per_second = Row(
        integer(0),
        "10000",
        "Keys of one limit that may be new in a second, before those never seen share one bucket; 0: no bound. A "
        "process that has just started waits two minutes with it. It is far above what honest callers bring, and a "
        "quarter of what a core decides.",
    )
    replicas = Row(
        integer(1),
        "1",
        "Instances that share the counters in Redis. While it is away, each grants its part of a limit that says "
        "on_store_failure: local.",
    )
    cache_key_prefix = Row(text, "", "Put before every key in Redis.")
    fixed_window_keys = Row(
        choice("upstream", "safe"),
        "upstream",
        "Redis keys of plain fixed windows. upstream: byte for byte envoyproxy/ratelimit's, so that both can share "
        "counters. safe: keys that cannot collide.",
    )
    expiration_jitter_max_seconds = Row(
        integer(0), "300", "A random part of this is added to expiries in Redis; 0: off."
    )
    local_cache_size_in_bytes = Row(size(0), "0", "Memory for remembering limits that are over; 0: off.")
    stop_cache_key_increment_when_overlimit = Row(
        boolean, "false", "Charge all limits of a request or none: all_or_nothing for every domain."
    )

    # Answers
    shadow_mode = Row(boolean, "false", "Count and report, but never say OVER_LIMIT overall.")
    quota_mode = Row(boolean, "false", "Treat every limit as quota_mode.")
    response_dynamic_metadata = Row(boolean, "false", "Return the request and the policy's metadata to Envoy.")
    limit_response_headers_enabled = Row(boolean, "false", "Add the three headers named next.")
    limit_limit_header = Row(header, "RateLimit-Limit", "Header of the limit.")
    limit_remaining_header = Row(header, "RateLimit-Remaining", "Header of what remains.")
    limit_reset_header = Row(header, "RateLimit-Reset", "Header of the seconds until the reset.")
    ietf_ratelimit_headers = Row(
        boolean, "false", "Add RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), and Retry-After."
    )

    # Bounds on a request
    max_request_bytes = Row(
        size(1024),
        "128KiB",
        "A larger request is refused. Envoy takes at most 60 KiB of headers by default, twice that leaves room for a "
        "header that is in two descriptors.",
    )
    max_descriptors = Row(integer(1), "64", "Descriptors of one request; a route rarely makes ten.")
    max_entries = Row(integer(1), "32", "Entries of one descriptor; a policy is rarely deeper than five.")

    # Metrics and health
    near_limit_ratio = Row(ratio, "0.8", "A limit this full counts as near_limit.")
    use_prometheus = Row(boolean, "false", "Serve metrics at PROMETHEUS_ADDR, besides /metrics of HTTP.")
    prometheus_addr = Row(host_port, ":9090", "host:port of that; write [::]:9090 for IPv6.")
    prometheus_path = Row(path, "/metrics", "Path of that.")
    disable_stats = Row(boolean, "false", "Serve no metrics.")
    request_made_series = Row(
        integer(0),
        "10000",
        "Metric series that values of requests may create, before the rest share one named other; Prometheus is at "
        "ease with some ten thousand of one target.",
    )
    healthy_with_at_least_one_config_loaded = Row(boolean, "false", "Be healthy only with at least one domain.")


def _refused(name: str, default: str, doc: str, secret: Secret = Secret.NO) -> Row[Any]:
    parse = boolean if default == "false" else text
    return Row(parse, default, doc, name=name, status=Status.REFUSED, secret=secret)


def _unread(default: str, doc: str, *names: str) -> list[Row[Any]]:
    return [Row(text, default, doc, name=name, status=Status.UNREAD, secret=Secret.WHOLE) for name in names]


_MEMCACHE: Final = "Counters in memcache; use Redis or memory."
_XDS: Final = "The policy over xDS."
_ALL_AT_ONCE: Final = "All nodes of a cluster are asked at once."
_PIPELINE: Final = "Every decision of an event-loop tick goes to Redis in one round trip."
_STATSD: Final = "statsd; metrics are served for Prometheus instead."
_TRACING: Final = "Tracing."

UNBUILT: Final[tuple[Row[Any], ...]] = (
    *_unread(
        "",
        "Upstream does not read it either: GRPC_CLIENT_TLS_CACERT asks clients for certificates.",
        "GRPC_SERVER_TLS_CA_CERT",
    ),
    _refused("MEMCACHE_HOST_PORT", "", _MEMCACHE),
    _refused("MEMCACHE_SRV", "", _MEMCACHE),
    _refused("USE_CALENDAR_MONTH_RATE_LIMIT", "false", "Calendar months; a month is 30 days here."),
    *_unread("WAIT", "A full pool never opens more connections.", "REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR"),
    *_unread("0", _PIPELINE, "REDIS_PERSECOND_PIPELINE_WINDOW", "REDIS_PERSECOND_PIPELINE_LIMIT"),
    *_unread("1", _ALL_AT_ONCE, "REDIS_PERSECOND_CLUSTER_PIPELINE_PARALLELISM"),
    *_unread("0", _PIPELINE, "REDIS_PIPELINE_WINDOW", "REDIS_PIPELINE_LIMIT"),
    *_unread("1", _ALL_AT_ONCE, "REDIS_CLUSTER_PIPELINE_PARALLELISM"),
    *_unread(
        "false", "Health follows Redis only where a limit needs it to answer.", "REDIS_HEALTH_CHECK_ACTIVE_CONNECTION"
    ),
    *_unread("WAIT", "A full pool never opens more connections.", "REDIS_POOL_ON_EMPTY_BEHAVIOR"),
    *_unread("", "Gone from upstream too.", "REDIS_POOL_ON_EMPTY_WAIT_DURATION"),
    *_unread(
        "",
        "The service listens before Redis is up and connects when it is.",
        "REDIS_STARTUP_INITIAL_INTERVAL",
        "REDIS_STARTUP_MAX_INTERVAL",
        "REDIS_STARTUP_MAX_ELAPSED_TIME",
    ),
    *_unread("false", "Broken connections are closed in any case.", "REDIS_CLOSE_CONNECTION_ON_READONLY_ERROR"),
    *_unread("false", "is_negative_hits is always honoured.", "ENABLE_NEGATIVE_HITS"),
    *_unread("0", _MEMCACHE, "MEMCACHE_SRV_REFRESH"),
    *_unread("2", _MEMCACHE, "MEMCACHE_MAX_IDLE_CONNS"),
    *_unread("false", _MEMCACHE, "MEMCACHE_TLS", "MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION"),
    *_unread("", _MEMCACHE, "MEMCACHE_TLS_CLIENT_CERT", "MEMCACHE_TLS_CLIENT_KEY", "MEMCACHE_TLS_CACERT"),
    *_unread("default", _XDS, "CONFIG_GRPC_XDS_NODE_ID"),
    *_unread("localhost:18000", _XDS, "CONFIG_GRPC_XDS_SERVER_URL"),
    *_unread("3s", _XDS, "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL"),
    *_unread("false", _XDS, "CONFIG_GRPC_XDS_SERVER_USE_TLS"),
    *_unread(
        "",
        _XDS,
        "CONFIG_GRPC_XDS_NODE_METADATA",
        "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS",
        "CONFIG_GRPC_XDS_CLIENT_TLS_CERT",
        "CONFIG_GRPC_XDS_CLIENT_TLS_KEY",
        "CONFIG_GRPC_XDS_SERVER_TLS_CACERT",
        "CONFIG_GRPC_XDS_SERVER_TLS_SAN",
        "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES",
    ),
    *_unread("10s", _XDS, "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL"),
    *_unread("60s", _XDS, "XDS_CLIENT_BACKOFF_MAX_INTERVAL"),
    *_unread("0.5", _XDS, "XDS_CLIENT_BACKOFF_RANDOM_FACTOR"),
    *_unread("true", _XDS, "XDS_CLIENT_BACKOFF_JITTER"),
    *_unread("false", _STATSD + " Upstream's default is true.", "USE_STATSD"),
    *_unread("false", _STATSD, "USE_DOG_STATSD"),
    *_unread("", _STATSD, "USE_DOG_STATSD_MOGRIFIERS", "DOG_STATSD_MOGRIFIER_*"),
    *_unread("localhost", _STATSD, "STATSD_HOST"),
    *_unread("8125", _STATSD, "STATSD_PORT"),
    *_unread("tcp", _STATSD, "STATSD_PROTOCOL"),
    *_unread("10s", "Metrics are current at every scrape.", "STATS_FLUSH_INTERVAL"),
    *_unread("", _STATSD, "EXTRA_TAGS", "GOSTATS_FLUSH_INTERVAL_SECONDS", "GOSTATS_LOGGING_SINK_DISABLED"),
    *_unread("", "Metrics have their names and labels without a mapping.", "PROMETHEUS_MAPPER_YAML"),
    *_unread("false", "Response times are in seconds, as the name says.", "PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS"),
    *_unread("false", _TRACING, "TRACING_ENABLED"),
    *_unread("RateLimit", _TRACING, "TRACING_SERVICE_NAME"),
    *_unread("", _TRACING, "TRACING_SERVICE_NAMESPACE", "TRACING_SERVICE_INSTANCE_ID", "OTEL_EXPORTER_OTLP_*"),
    *_unread("http", _TRACING, "TRACING_EXPORTER_PROTOCOL"),
    *_unread("1", _TRACING, "TRACING_SAMPLING_RATE"),
)
"""Variables that do not work yet. A name that ends in ``*`` stands for all that begin so."""


def _working() -> list[Row[Any]]:
    return [row for row in vars(Settings).values() if isinstance(row, Row)]


ROWS: Final[tuple[Row[Any], ...]] = (*_working(), *UNBUILT)
"""The whole table."""
