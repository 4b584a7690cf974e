"""Options of Redis connections and of the store."""

import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from ratelimitd.config.redis_address import Credentials, Deployment
from ratelimitd.net.files import Stamp, stamp
from ratelimitd.net.tls import require_readable


def spread(seconds: float) -> float:
    """Return a random time from half of this to all of it, so hosts that lost Redis together do not return together."""
    return random.uniform(seconds / 2, seconds)  # noqa: S311 -- hides nothing


def no_credentials() -> Credentials:
    """Return no credentials."""
    return Credentials()


class Tls(NamedTuple):
    """TLS to Redis; all fields but the last are paths of PEM files.

    Attributes:
        ca: CA of the servers' certificates; empty for the system's.
        cert, key: client certificate, for servers that require one.
        check_hostname: the certificate must match the host name of the connection.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    check_hostname: bool = True

    @property
    def files(self) -> list[str]:
        """The paths that are set."""
        return [path for path in (self.ca, self.cert, self.key) if path]

    def context(self) -> ssl.SSLContext:
        """Return the context for the current files. Raises OSError. Takes milliseconds: not for the event loop."""
        return _context(self, tuple(stamp(path) for path in self.files))


@lru_cache(maxsize=8)
def _context(tls: Tls, _stamps: tuple[Stamp, ...]) -> ssl.SSLContext:
    require_readable(*tls.files)
    context = ssl.create_default_context(cafile=tls.ca or None)
    context.check_hostname = tls.check_hostname
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key or None)
    return context


@dataclass(frozen=True)
class ConnectOptions:
    """Connections to one deployment.

    Attributes:
        credentials, sentinel_credentials: called for each connection, so that credentials may change; raise OSError.
        tls: None for plain text.
        pool_size: connections to a node at most; 10 is envoyproxy/ratelimit's REDIS_POOL_SIZE.
        connect_timeout: seconds to open a connection, handshake included. A store with a budget of 15 ms is not far
            away, and an attempt that hangs must not delay the next one.
    """

    deployment: Deployment
    credentials: Callable[[], Credentials] = no_credentials
    sentinel_credentials: Callable[[], Credentials] = no_credentials
    tls: Tls | None = None
    pool_size: int = 10
    connect_timeout: float = 0.5


@dataclass(frozen=True)
class RedisOptions:
    """Options of the store.

    Attributes:
        main: deployment that has the counters.
        per_second: deployment for limits with a window of one second; None for ``main``.
        prefix: prefix of all keys, CACHE_KEY_PREFIX; probe keys have it too, since an ACL may require it.
        jitter: seconds, at most, by which a counter keyed by its window lives longer; EXPIRATION_JITTER_MAX_SECONDS.
        clock: "redis" uses the server's TIME, so that all hosts agree; "host" uses the ``now`` of the call.
        budget: seconds that an ask without a deadline may take; 15 ms, since Envoy's timeout of a call is 20 ms.
        max_in_flight: charges in flight at most; 10,000 are 0.1 s of work for a Redis, more than any budget.
        stale_after: seconds without any reply after which a node's connections are closed; many budgets, but well
            before TCP would notice.
        retry_first, retry_most: seconds between attempts to connect: the first pause, and the longest. With
            ``connect_timeout`` before it, a node is found again within a second.
        breaker_after: consecutive failures that open a node's breaker. A failure is a script call, or all late calls
            of one event-loop iteration. Under load, 5 are one bad millisecond; without load they are no accident.
        probe_most: seconds between probes of a node with an open breaker, at most; at least half of it.
        max_attempts: attempts for a call that a cluster redirects, or that finds the script missing; rarely two are
            needed.
    """

    main: ConnectOptions
    per_second: ConnectOptions | None = None
    prefix: bytes = b""
    jitter: int = 0
    clock: Literal["redis", "host"] = "redis"
    budget: float = 0.015
    max_in_flight: int = 10_000
    stale_after: float = 1.0
    retry_first: float = 0.05
    retry_most: float = 0.4
    breaker_after: int = 5
    probe_most: float = 0.5
    max_attempts: int = 5
