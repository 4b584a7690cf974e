"""How a Redis is connected to and used."""

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
    """Return between half of this and all of it, at random, so that hosts which broke off together come one by one."""
    return random.uniform(seconds / 2, seconds)  # noqa: S311 -- hides nothing


def nobody() -> Credentials:
    """No credentials."""
    return Credentials()


class Tls(NamedTuple):
    """TLS towards Redis; all fields but the last are paths of PEM files.

    Attributes:
        ca: what signs the servers' certificates; empty: what the system trusts.
        cert, key: the client's own, where servers ask for one.
        check_hostname: the certificate must be of the name that was connected to.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    check_hostname: bool = True

    @property
    def files(self) -> list[str]:
        """The paths there are."""
        return [path for path in (self.ca, self.cert, self.key) if path]

    def context(self) -> ssl.SSLContext:
        """Return the context of the files as they are now. Raises OSError. Takes milliseconds: not for the loop."""
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
    """How connections to one Redis are made.

    Attributes:
        credentials, sentinel_credentials: asked for at each connection, so that they may change; raise OSError.
        tls: None for plain text.
        pool_size: connections to a server at most; 10 is envoyproxy/ratelimit's REDIS_POOL_SIZE.
        connect_timeout: seconds for a connection to be opened and greeted. A store that is asked within 15 ms is
            not far away; and a connection that came to nothing must not keep the next one from being tried.
    """

    deployment: Deployment
    credentials: Callable[[], Credentials] = nobody
    sentinel_credentials: Callable[[], Credentials] = nobody
    tls: Tls | None = None
    pool_size: int = 10
    connect_timeout: float = 0.5


@dataclass(frozen=True)
class RedisOptions:
    """How the store uses its Redis.

    Attributes:
        main: where counters live.
        per_second: where those of limits with a window of one second do; None: with the others.
        prefix: of all keys, CACHE_KEY_PREFIX; a probe's key has it too, since an ACL may demand it.
        jitter: a counter keyed by its window lives up to this many seconds longer; EXPIRATION_JITTER_MAX_SECONDS.
        clock: "redis" lets the server's TIME rule, so that all hosts agree; "host" the ``now`` of the call.
        budget: seconds an ask without a deadline may take; 15 ms, since Envoy gives a call 20.
        max_in_flight: charges under way at most; 10,000 are 0.1 s of work for a Redis, past every budget.
        stale_after: seconds without any reply after which a server's connections are given up; many budgets, but
            well before TCP would notice.
        retry_first, retry_most: seconds between attempts to connect: the first pause, and the longest. With
            ``connect_timeout`` before it, a server is found again within a second.
        breaker_after: failures in a row before a server is left alone: script calls, or what a tick had sent that was
            late; 5 are one bad millisecond under load and no accident without.
        probe_most: seconds between probes of a server that is left alone, at most; at least half of it.
        patience: attempts for one call that a cluster sends from node to node, or that finds the script gone; a call
            rarely needs two.
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
    patience: int = 5
