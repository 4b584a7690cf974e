"""The table: every variable envoyproxy/ratelimit reads, and our own.

What works is an attribute of ``Settings``; its row is read on the class. What does not is in ``unbuilt``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, cast

from ratelimitd.config.redis_address import Credentials, RedisKind
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
from ratelimitd.settings.redis_url import RedisUrl, credentials, read_redis_url, redis_parts
from ratelimitd.settings.rows import Row, Secret
from ratelimitd.settings.unbuilt import UNBUILT

ALGORITHMS: Final = ("fixed_window", "sliding_window_counter", "sliding_window", "token_bucket", "gcra", "leaky_bucket")
"""Written out because settings import no algorithm; a test holds it against the algorithms themselves."""

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


MAIN_REDIS: Final = "REDIS_"
PER_SECOND_REDIS: Final = "REDIS_PERSECOND_"
"""How the names of the variables of each Redis begin."""


class RedisVariables:
    """The values of the variables that either Redis has; an attribute bears the end of the name, in lower case."""

    url: tuple[str, ...]
    socket_type: str
    type: RedisKind
    auth: Credentials | None
    auth_file: str
    sentinel_auth: Credentials | None
    pool_size: int
    timeout: float
    tls: bool

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


_OF_THE_SECOND: Final[Mapping[str, str]] = {
    "url": ", of the second one",
    "tls": ", of the second Redis alone; the files are the same",
}
"""What the second Redis' variables mean besides "as those of the first"."""


def _kind(value: str) -> RedisKind:
    return cast("RedisKind", _ANY_KIND(value))


def _credentials(value: str) -> Credentials | None:
    return credentials(value) if value else None


class Settings:
    """All settings that work, parsed; frozen. Durations are seconds, sizes bytes. Made by ``load``.

    Attributes:
        warnings: sentences to log once, at the start.
    """

    warnings: tuple[str, ...]

    def __init__(self, values: Mapping[str, Any], warnings: tuple[str, ...] = ()) -> None:
        """Take a parsed value for each row that works, by its name, and fill in the defaults."""
        for row in WORKING:
            value = values[row.name] if row.name in values else row.parse(row.default)
            self.__dict__[row.name.lower()] = value
        self.__dict__["warnings"] = warnings

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings are frozen: {name}")

    def __repr__(self) -> str:
        return "Settings(...)"

    @property
    def redis(self) -> RedisUrl | None:
        """Where Redis is; None: counters live in memory. Raises ValueError, though not once ``load`` has looked."""
        return self.redis_at(MAIN_REDIS)

    @property
    def per_second(self) -> RedisUrl | None:
        """Where limits a second have their counters; None: with the others. Raises ValueError as ``redis`` does."""
        return self.redis_at(PER_SECOND_REDIS)

    def redis_at(self, prefix: str) -> RedisUrl | None:
        """Return ``redis`` or ``per_second``, by how its variables begin."""
        variables = self.redis_variables(prefix)
        wanted = prefix == MAIN_REDIS or self.redis_persecond
        return read_redis_url(variables.type, variables.url) if wanted else None

    def redis_variables(self, prefix: str) -> RedisVariables:
        """Return the values of the variables that begin so; REDIS_ADDR is another name for REDIS_URL."""
        found = {name: self.__dict__[prefix.lower() + name] for name in RedisVariables.__annotations__}
        if prefix == MAIN_REDIS:
            found["url"] = found["url"] or self.redis_addr
        return RedisVariables(found)

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


def _working() -> Iterator[Row[Any]]:
    for row in vars(Settings).values():
        if isinstance(row, Row):
            yield row
        if row is Settings.redis_persecond:
            yield from map(_second, RedisVariables.__annotations__)


def _second(name: str) -> Row[Any]:
    """Make the row of the second Redis of the first one's."""
    row: Row[Any] = vars(Settings)[MAIN_REDIS.lower() + name]
    doc = f"As {row.name}{_OF_THE_SECOND.get(name, '')}."
    return Row(row.parse, row.default, doc, name=PER_SECOND_REDIS + name.upper(), secret=row.secret)


WORKING: Final[tuple[Row[Any], ...]] = tuple(_working())

ROWS: Final[tuple[Row[Any], ...]] = (*WORKING, *UNBUILT)
"""The whole table."""

ROW: Final[Mapping[str, Row[Any]]] = {row.name: row for row in ROWS}
"""By the name of the variable."""
