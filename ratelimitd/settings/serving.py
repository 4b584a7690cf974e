"""Rows of the table: listeners, the fallback proxy, logs."""

from typing import Final

from ratelimitd.config.values import (
    EVERYWHERE,
    address,
    any_text,
    bearer,
    boolean,
    choice,
    duration,
    go_host_port,
    host_names,
    networks,
    origin_url,
    peer_names,
    port_number,
    positive_duration,
    size,
    text,
)
from ratelimitd.settings.rows import Row, Secret

LOG_LEVELS: Final = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")


class ServingRows:
    """Rows of what the process listens on, of the fallback proxy, and of logs."""

    # Listeners
    host = Row(
        address, EVERYWHERE, "Address of the HTTP port: /healthcheck, /livez, /readyz, /json, /metrics; :: is accepted."
    )
    port = Row(port_number, "8080", "HTTP port; 0: a free one.")
    http_json = Row(boolean, "true", "Serve /json; false: it is 404.")
    http_allowed_hosts = Row(
        host_names,
        "",
        "Further names, comma-separated, that Host may have in requests of clients on this host, on the HTTP and debug "
        "ports; localhost, the host's own name and IP addresses need no entry, and probes and /metrics accept any. For "
        "callers through a proxy on this host, such as Istio's sidecar, which keeps the name that they called.",
    )
    debug_host = Row(
        address,
        "localhost",
        "Address of the debug port: the live view, /rlconfig, /stats, and the admin API; localhost: 127.0.0.1 and ::1. "
        "envoyproxy/ratelimit's default is 0.0.0.0, which the image sets. The pages show limits and counters to every "
        "caller.",
    )
    debug_port = Row(
        port_number, "6070", "Debug port (HTTP); 0: a free one. A proxy without the service opens it only if it is set."
    )
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
    peer_addr = Row(
        lambda value: go_host_port(value) if value else None,
        "",
        "host:port on which other replicas read the live view of this one (live.md); without a host every interface, "
        "IPv4 and IPv6, as in Go. It serves nothing else, asks for the admin token, and has TLS if "
        "GRPC_SERVER_USE_TLS is true, with the files of gRPC. Unset: none.",
    )
    peers = Row(
        peer_names,
        "",
        "The replicas to ask for the live view of all: a DNS name that has the address of each, such as that of a "
        "headless Service, or several names or addresses, separated by commas; each with or without a port, which is "
        "by default that of PEER_ADDR, else 6071. They are asked with the admin token.",
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
    grpc_max_buffered_bytes = Row(
        size(1 << 20),
        "256MiB",
        "Memory for incomplete requests on all gRPC connections; a quarter of it is for requests in flight, and half "
        "for responses that clients do not read, in addition. Beyond it calls are RESOURCE_EXHAUSTED, and connections "
        "with the most unread responses are closed. By default an eighth of the memory of the container or machine, if "
        "that is less.",
    )
    trusted_peers = Row(
        networks,
        "",
        "Addresses and networks, separated by commas, that may have more than a quarter of a port's connections while "
        "others want one: load balancers, which stand for many clients. Unix sockets may too.",
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
        lambda value: go_host_port(value) if value else None,
        "",
        "host:port of `ratelimitd proxy`; without a host every interface, IPv4 and IPv6, as in Go. Unset: that of the "
        "gateway file, else :8080.",
    )
    upstream_url = Row(
        origin_url,
        "http://localhost:8081",
        "Upstream of `ratelimitd proxy` if it has no gateway file; also --upstream.",
    )
    downstream_url = Row(lambda value: origin_url(value) if value else "", "", "Another name for UPSTREAM_URL.")
    identity_secret = Row(
        any_text,
        "",
        "Secret of the HMAC by which API keys (identity in a policy) are counted; unset: by their plain SHA-256.",
        secret=Secret.WHOLE,
    )

    # The process
    core_dumps = Row(
        boolean,
        "false",
        "Allow core dumps of the process, and debuggers and profilers of its user to attach (gdb, py-spy); both read "
        "tokens and passwords in its memory. false: RLIMIT_CORE is 0, and on Linux PR_SET_DUMPABLE too.",
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
