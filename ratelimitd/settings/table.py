"""The table: every variable of envoyproxy/ratelimit, and those of this project.

A supported variable is an attribute of ``Settings``; the class attribute is its row. The others are in ``unbuilt``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from ratelimitd.config.values import (
    EVERYWHERE,
    address,
    bearer,
    boolean,
    choice,
    duration,
    go_host_port,
    header,
    host_port,
    integer,
    origin_url,
    path,
    port_number,
    positive_duration,
    ratio,
    size,
    text,
)
from ratelimitd.settings.redis_url import RedisUrl, read_redis_url, redis_parts
from ratelimitd.settings.redis_variables import (
    ADDRESS_TEXT,
    MAIN_REDIS,
    OF_THE_SECOND,
    PER_SECOND_REDIS,
    TIMEOUT_TEXT,
    RedisVariables,
    optional_credentials,
    redis_kind,
)
from ratelimitd.settings.rows import Row, Secret
from ratelimitd.settings.unbuilt import UNBUILT

ALGORITHMS: Final = ("fixed_window", "sliding_window_counter", "sliding_window", "token_bucket", "gcra", "leaky_bucket")
"""Listed here because settings import no algorithm; a test compares it with the algorithms."""

LOG_LEVELS: Final = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")

_NOT_XDS: Final = "serve the policy from files (CONFIG_TYPE=FILE)"
_NOT_MEMCACHE: Final = "write redis and set REDIS_URL, or write memory"


class Settings:
    """All supported settings, parsed and frozen. Durations are seconds, sizes bytes. Created by ``load``.

    Attributes:
        warnings: sentences to log once, at the start.
        given: names of the variables that were set, by flag or in the environment.
    """

    warnings: tuple[str, ...]
    given: frozenset[str]

    def __init__(self, values: Mapping[str, Any], warnings: tuple[str, ...] = ()) -> None:
        """Store the parsed values by name of the row, and fill in the defaults."""
        for row in WORKING:
            value = values[row.name] if row.name in values else row.parse(row.default)
            self.__dict__[row.name.lower()] = value
        self.__dict__["warnings"] = warnings
        self.__dict__["given"] = frozenset(values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings are frozen: {name}")

    def __repr__(self) -> str:
        return "Settings(...)"

    @property
    def upstream(self) -> str:
        """URL of the proxy's upstream without a gateway file, by either name."""
        return (
            self.upstream_url if Settings.upstream_url.name in self.given else self.downstream_url or self.upstream_url
        )

    @property
    def redis(self) -> RedisUrl | None:
        """Address of Redis; None: counters are kept in memory. Raises ValueError, but not after ``load``."""
        return self.redis_at(MAIN_REDIS)

    @property
    def per_second(self) -> RedisUrl | None:
        """Address of the Redis for limits per second; None: the same as for others. Raises ValueError as ``redis``."""
        return self.redis_at(PER_SECOND_REDIS)

    def redis_at(self, prefix: str) -> RedisUrl | None:
        """Return ``redis`` or ``per_second``, by the prefix of its variables."""
        variables = self.redis_variables(prefix)
        wanted = prefix == MAIN_REDIS or self.redis_persecond
        return read_redis_url(variables.type, variables.url) if wanted else None

    def redis_variables(self, prefix: str) -> RedisVariables:
        """Return the values of the variables with this prefix; REDIS_ADDR is another name for REDIS_URL."""
        found = {name: self.__dict__[prefix.lower() + name] for name in RedisVariables.__annotations__}
        if prefix == MAIN_REDIS:
            found["url"] = found["url"] or self.redis_addr
        return RedisVariables(found)

    # Listeners
    host = Row(
        address, EVERYWHERE, "Address of the HTTP port: /healthcheck, /livez, /readyz, /json, /metrics; :: is accepted."
    )
    port = Row(port_number, "8080", "HTTP port; 0: a free one.")
    debug_host = Row(address, EVERYWHERE, "Address of the debug port: /rlconfig, /stats, and the admin API.")
    debug_port = Row(port_number, "6070", "Debug port (HTTP); 0: a free one.")
    admin_token = Row(
        lambda value: bearer(value) if value else "",
        "",
        "Bearer token of the admin API on the debug port, 16 characters or more; with it, a proxy opens that "
        "port too. Without it and without ADMIN_TOKEN_FILE the admin API is disabled.",
        secret=Secret.WHOLE,
    )
    admin_token_file = Row(text, "", "File that contains the token instead; read again when it changes.")
    admin_remote = Row(
        boolean, "false", "Accept admin requests from other hosts; by default only from this host (loopback)."
    )
    grpc_host = Row(address, EVERYWHERE, "Address of the gRPC port, which Envoy calls; :: is accepted.")
    grpc_port = Row(port_number, "8081", "gRPC port; 0: a free one.")
    grpc_uds = Row(text, "", "Path of a unix socket for gRPC; replaces GRPC_HOST and GRPC_PORT.")
    grpc_server_use_tls = Row(boolean, "false", "Use TLS on the gRPC port.")
    grpc_server_tls_cert = Row(text, "", "PEM file of the certificate chain; read again when it changes.")
    grpc_server_tls_key = Row(text, "", "PEM file of the private key.")
    grpc_client_tls_cacert = Row(
        text, "", "PEM file of a CA; if set, every client must present a certificate of this CA."
    )
    grpc_client_tls_san = Row(
        text,
        "",
        "Subject alternative name (SAN) that a client certificate must have. A DNS name is compared without case and "
        "with wildcards (RFC 6125), a URI or email address whole.",
    )
    transport = Row(
        choice("auto", "nghttp2", "grpcio"),
        "auto",
        "gRPC transport. nghttp2: the fast one, an extension that needs a C compiler and libnghttp2 at installation. "
        "grpcio: the portable one. auto: nghttp2 if it was built, else grpcio.",
    )
    grpc_max_connection_age = Row(
        duration, "24h", "Age at which a gRPC connection is drained (GOAWAY), ±10 %; 0: never."
    )
    grpc_reflection = Row(
        boolean,
        "true",
        "Serve gRPC reflection, by which grpcurl finds the services; false: it is UNIMPLEMENTED.",
    )
    grpc_max_connection_age_grace = Row(positive_duration, "1h", "Time for calls on such a connection to complete.")
    graceful_shutdown_timeout = Row(
        duration,
        "15s",
        "Time for calls in flight to complete after SIGTERM and DRAIN_DELAY; half of Kubernetes' default of 30 s.",
    )
    drain_delay = Row(
        duration,
        "5s",
        "Time after SIGTERM during which health checks fail and calls are still accepted, so that Envoy and Kubernetes "
        "can move traffic away; Kubernetes takes some seconds to propagate the removal of an endpoint.",
    )

    # The fallback proxy
    listen_addr = Row(
        lambda value: host_port(value) if value else None,
        "",
        "host:port of `ratelimitd proxy`; unset: that of the gateway file, else :8080.",
    )
    upstream_url = Row(
        origin_url,
        "http://localhost:8081",
        "Upstream of `ratelimitd proxy` if it has no gateway file; also --upstream.",
    )
    downstream_url = Row(lambda value: origin_url(value) if value else "", "", "Another name for UPSTREAM_URL.")
    identity_secret = Row(
        text,
        "",
        "Secret of the HMAC by which API keys (identity in a policy) are counted; unset: by their plain SHA-256.",
        secret=Secret.WHOLE,
    )

    # Logs
    log_level = Row(
        choice(*LOG_LEVELS),
        "info",
        "Lowest level that is logged: trace, debug, info, warn, error, fatal, panic. "
        "envoyproxy/ratelimit's default is warn, the level of its start-up lines; here these are info.",
    )
    log_format = Row(
        choice("auto", "json", "text"),
        "auto",
        "json: one object per line, with @timestamp and @message as in envoyproxy/ratelimit. text: human-readable. "
        "auto: text on a terminal, else json; decided for stderr, and for stdout with the proxy's access log. NO_COLOR "
        "turns colors off. envoyproxy/ratelimit's default is text.",
    )
    log_decisions = Row(
        boolean,
        "false",
        "Log every decision, whatever LOG_LEVEL is; for evaluation, not for production traffic. LOG_LEVEL=debug logs "
        "at most 10 decisions per second; the admin API logs those of some requests for a time.",
    )
    log_store_keys = Row(
        boolean,
        "false",
        "Add the Redis key of a failed charge to the log line of a store failure; keys contain values of requests.",
    )

    # The policy
    config_type = Row(choice("FILE", unbuilt={"GRPC_XDS_SOTW": _NOT_XDS}), "FILE", "Source of the policy.")
    force_start_without_initial_config = Row(boolean, "false", "Report ready before the first policy is loaded.")
    runtime_root = Row(text, "/srv/runtime_data/current", "Directory of the policy, if --config is not given.")
    runtime_subdirectory = Row(text, "", "Directory below RUNTIME_ROOT.")
    runtime_appdirectory = Row(text, "config", "Directory of the policy files, below that.")
    runtime_ignoredotfiles = Row(
        boolean,
        "false",
        "Skip names that begin with a dot; those that begin with two dots (Kubernetes' own) are always skipped.",
    )
    runtime_watch_root = Row(
        boolean,
        "true",
        "true: watch RUNTIME_ROOT, a symbolic link that is swapped. false: watch the directory of the files.",
    )
    merge_domain_config = Row(boolean, "false", "Allow several files to define descriptors of one domain.")
    default_algorithm = Row(
        choice(*ALGORITHMS),
        "fixed_window",
        f"Algorithm of a limit if neither the limit nor its domain sets one: {', '.join(ALGORITHMS)}. "
        "The default is the only algorithm of envoyproxy/ratelimit.",
    )

    # Counters
    backend_type = Row(
        choice("", "memory", "redis", unbuilt={"memcache": _NOT_MEMCACHE}),
        "",
        "memory or redis. Unset: redis if REDIS_URL or REDIS_ADDR is set, else memory.",
    )
    memory_max_bytes = Row(
        size(1 << 20),
        "256MiB",
        "Memory for counters; beyond it counters are evicted, expired ones first. Half of a small container's 512 MiB.",
    )
    redis_url = Row(redis_parts, "", ADDRESS_TEXT, secret=Secret.USERINFO)
    redis_addr = Row(redis_parts, "", "Another name for REDIS_URL, intended for host:port.", secret=Secret.USERINFO)
    redis_socket_type = Row(
        choice("", "tcp", "unix"),
        "",
        "tcp or unix; unset: derived from REDIS_URL. envoyproxy/ratelimit's default is unix.",
    )
    redis_type = Row(redis_kind, "single", "single, sentinel or cluster: the deployment that REDIS_URL addresses.")
    redis_auth = Row(optional_credentials, "", "password or user:password of Redis.", secret=Secret.WHOLE)
    redis_auth_file = Row(
        text,
        "",
        "File with the content of REDIS_AUTH; read for each new connection, so a change needs no restart.",
    )
    redis_sentinel_auth = Row(
        optional_credentials, "", "password or user:password of the Sentinels.", secret=Secret.WHOLE
    )
    redis_pool_size = Row(
        integer(1, 1024), "10", "Maximum number of connections to a server; a busy event loop needs few."
    )
    redis_timeout = Row(positive_duration, "500ms", TIMEOUT_TEXT)
    redis_tls = Row(boolean, "false", "Use TLS for connections to Redis and to its Sentinels.")
    redis_tls_cacert = Row(text, "", "PEM file of the CA of their certificates; unset: the CAs that the system trusts.")
    redis_tls_client_cert = Row(
        text, "", "PEM file of the client certificate, if they require one; read again when it changes."
    )
    redis_tls_client_key = Row(text, "", "PEM file of its private key.")
    redis_tls_skip_hostname_verification = Row(
        boolean,
        "false",
        "Accept any certificate of the CA, regardless of its name; for clusters that announce nodes by IP address.",
    )
    redis_persecond = Row(boolean, "false", "Use a second Redis for limits with a window of one second.")
    store_budget = Row(
        positive_duration,
        "15ms",
        "Time that a decision may wait for its counters; Envoy's own default timeout is 20 ms. For a call with a "
        "shorter deadline it is that deadline less a fifth of it, at most 3 ms.",
    )
    store_in_flight = Row(
        integer(1),
        "10000",
        "Maximum number of charges in flight to Redis, and of open gRPC calls; more are rejected. At 15 ms each, the "
        "default allows more than 600,000 per second.",
    )
    new_keys_per_second = Row(
        integer(0),
        "10000",
        "New keys per second of one limit; beyond it, keys that were never seen share one bucket; 0: no bound. A "
        "process that has just started waits two minutes before it applies the bound. The default is far above the "
        "rate of legitimate clients, and a quarter of the decisions of one core.",
    )
    replicas = Row(
        integer(1),
        "1",
        "Number of instances that share the counters in Redis. While Redis is unavailable, each grants its share of a "
        "limit with on_store_failure: local.",
    )
    cache_key_prefix = Row(text, "", "Prefix of every key in Redis.")
    fixed_window_keys = Row(
        choice("upstream", "safe"),
        "upstream",
        "Redis keys of plain fixed windows. upstream: byte for byte those of envoyproxy/ratelimit, so that both can "
        "share counters. safe: keys that cannot collide.",
    )
    expiration_jitter_max_seconds = Row(
        integer(0), "300", "Upper bound of the random time added to the expiry of keys in Redis; 0: off."
    )
    local_cache_size_in_bytes = Row(size(0), "0", "Memory for the cache of keys that are over their limit; 0: off.")
    stop_cache_key_increment_when_overlimit = Row(
        boolean, "false", "Charge either all limits of a request or none: all_or_nothing for every domain."
    )

    # Answers
    shadow_mode = Row(boolean, "false", "Count and report, but never return OVER_LIMIT as the overall code.")
    quota_mode = Row(boolean, "false", "Treat every limit as if it set quota_mode.")
    response_dynamic_metadata = Row(boolean, "false", "Return the request and the policy's metadata to Envoy.")
    response_dynamic_metadata_reason = Row(
        boolean, "false", "Return the reason of a denial or of a store failure to Envoy, as dynamic metadata."
    )
    limit_reason_header = Row(
        lambda value: header(value) if value else "", "", "Name of a response header with that reason; unset: none."
    )
    limit_response_headers_enabled = Row(
        boolean, "false", "Add the three headers of the following settings to responses."
    )
    limit_limit_header = Row(header, "RateLimit-Limit", "Name of the header with the limit.")
    limit_remaining_header = Row(header, "RateLimit-Remaining", "Name of the header with the remaining hits.")
    limit_reset_header = Row(header, "RateLimit-Reset", "Name of the header with the seconds until the reset.")
    ietf_ratelimit_headers = Row(
        boolean, "false", "Add RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), and Retry-After."
    )

    # Bounds on a request
    max_request_bytes = Row(
        size(1024),
        "128KiB",
        "Maximum size of a request, over gRPC (also after decompression) and at /json; a larger one is rejected. Envoy "
        "accepts at most 60 KiB of headers by default; twice that leaves room for a header that appears in two "
        "descriptors.",
    )
    max_descriptors = Row(integer(1), "64", "Maximum number of descriptors in a request; a route rarely produces ten.")
    max_entries = Row(
        integer(1), "32", "Maximum number of entries in a descriptor; a policy is rarely deeper than five."
    )

    # Metrics and health
    near_limit_ratio = Row(ratio, "0.8", "Share of a limit above which hits count as near_limit.")
    use_prometheus = Row(
        boolean, "false", "Serve metrics at PROMETHEUS_ADDR, in addition to /metrics of the HTTP port."
    )
    prometheus_addr = Row(
        go_host_port, ":9090", "host:port for Prometheus; without a host every interface, IPv4 and IPv6, as in Go."
    )
    prometheus_path = Row(path, "/metrics", "Path of the metrics at PROMETHEUS_ADDR.")
    disable_stats = Row(boolean, "false", "Serve no metrics.")
    request_made_series = Row(
        integer(0),
        "10000",
        "Maximum number of metric series created from values in requests; further values share one series named other. "
        "Prometheus handles some ten thousand series per target well.",
    )
    redis_health_check_active_connection = Row(
        boolean,
        "false",
        "Report unhealthy at /healthcheck while there is no connection to Redis. By default Redis must have been "
        "available once, so that a liveness probe restarts nothing because of Redis.",
    )
    healthy_with_at_least_one_config_loaded = Row(
        boolean, "false", "Report healthy only if the policy has at least one domain."
    )


def _working() -> Iterator[Row[Any]]:
    for row in vars(Settings).values():
        if isinstance(row, Row):
            yield row
        if row is Settings.redis_persecond:
            yield from map(_second, RedisVariables.__annotations__)


def _second(name: str) -> Row[Any]:
    """Make the row of the second Redis from that of the first."""
    row: Row[Any] = vars(Settings)[MAIN_REDIS.lower() + name]
    doc = f"As {row.name}{OF_THE_SECOND.get(name, '')}."
    return Row(row.parse, row.default, doc, name=PER_SECOND_REDIS + name.upper(), secret=row.secret)


WORKING: Final[tuple[Row[Any], ...]] = tuple(_working())

ROWS: Final[tuple[Row[Any], ...]] = (*WORKING, *UNBUILT)
"""The whole table."""

ROW: Final[Mapping[str, Row[Any]]] = {row.name: row for row in ROWS}
"""Rows by name of the variable."""
