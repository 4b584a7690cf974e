"""Rows of the table: the policy, and the counters."""

from typing import Final

from ratelimitd.config.values import (
    boolean,
    choice,
    integer,
    positive_duration,
    size,
    text,
)
from ratelimitd.settings.redis_url import redis_parts
from ratelimitd.settings.redis_variables import ADDRESS_TEXT, TIMEOUT_TEXT, optional_credentials, redis_kind
from ratelimitd.settings.rows import Row, Secret
from ratelimitd.settings.xds import XDS

ALGORITHMS: Final = ("fixed_window", "sliding_window_counter", "sliding_window", "token_bucket", "gcra", "leaky_bucket")
"""Listed here because settings import no algorithm; a test compares it with the algorithms."""

_NOT_MEMCACHE: Final = "write redis and set REDIS_URL, or write memory"


class CountingRows:
    """Rows of the policy and of its counters."""

    # The policy
    config_type = Row(
        choice("FILE", XDS),
        "FILE",
        f"Source of the policy. FILE: files. {XDS}: a control plane, whose variables begin with CONFIG_GRPC_XDS_ and "
        "XDS_CLIENT_.",
    )
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
    policy_max_bytes = Row(
        size(1 << 10, 24 << 20),
        "4MiB",
        "Maximum total size of the policy files, up to 24 MiB. Each MiB takes up to 64 MiB in the process that parses "
        "them, and 16 MiB in the service during a reload; 4 MiB, some 50,000 rules, fit a container of 512 MiB.",
    )
    merge_domain_config = Row(boolean, "false", "Allow several files to define descriptors of one domain.")
    default_algorithm = Row(
        choice(*ALGORITHMS),
        "fixed_window",
        f"Algorithm of a limit if neither the limit nor its domain sets one: {', '.join(ALGORITHMS)}. "
        "The default is the only algorithm of envoyproxy/ratelimit.",
    )

    policy_overlay = Row(
        text,
        "",
        "Overlay: a file that says of limits what their source cannot, such as an algorithm for those of a control "
        "plane (docs/overlay.md). While it has a fault, the last good one applies. The flag is --overlay.",
        flag="--overlay",
    )
    policy_overlay_required = Row(
        boolean, "false", "Report not ready (/readyz) until an overlay without a fault was read."
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
        "Memory for counters; beyond it counters are evicted, expired ones first. By default half of the memory of the "
        "container or machine, if that is less. 256 MiB are a million counters.",
    )
    live_max_bytes = Row(
        size(0),
        "8MiB",
        "Memory for the live view: rates of limits, their keys with most hits, recent denials (docs/live.md). By "
        "default a 64th of the memory of the container, if that is less. 0 turns it off.",
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
    settlements_kept = Row(
        integer(0),
        "5000",
        "Maximum number of settlements (costs reported after the request), and of releases of holds, that wait in this "
        "process until Redis is back; the newest are kept, each for the window of its limit at most; 0: none. The "
        "default is what 30 answers per second report in almost three minutes, and takes up to 3.5 MB.",
    )
    replicas = Row(
        integer(1),
        "1",
        "Number of instances that share the counters in Redis. While Redis is unavailable, each grants its share of a "
        "limit with on_store_failure: local.",
    )
    cache_key_prefix = Row(text, "", "Prefix of every key in Redis.")
    fixed_window_keys = Row(
        choice("upstream", "safe", "auto"),
        "upstream",
        "Redis keys of plain fixed windows. upstream: byte for byte those of envoyproxy/ratelimit, so that both can "
        "share counters; each load names the limits that can share one with other requests. safe: keys that cannot "
        "collide. auto: safe keys for these limits and for overrides, upstream's for all others. Keys in memory are "
        "always safe.",
    )
    expiration_jitter_max_seconds = Row(
        integer(0), "300", "Upper bound of the random time added to the expiry of keys in Redis; 0: off."
    )
    local_cache_size_in_bytes = Row(size(0), "0", "Memory for the cache of keys that are over their limit; 0: off.")
    enable_negative_hits = Row(
        boolean,
        "true",
        "Honor is_negative_hits, with which any caller can lift any limit. false: such hits cost 0, as a peek, and "
        "are counted. The default is what envoyproxy/ratelimit does since it knows the field.",
    )
    stop_cache_key_increment_when_overlimit = Row(
        boolean, "false", "Charge either all limits of a request or none: all_or_nothing for every domain."
    )
