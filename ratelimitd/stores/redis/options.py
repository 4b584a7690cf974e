"""Where a Redis is and how it is used, read from what the settings say."""

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

PORT: Final = 6379
"""The port that Redis is known by, https://www.iana.org/assignments/service-names-port-numbers."""


class AddressError(ValueError):
    """An address that cannot be used; the text says what to write instead, and never a password."""


@dataclass(frozen=True)
class Address:
    """One Redis server.

    Attributes:
        path: of a unix socket; empty for TCP.
        username: empty for the server's default user.
        password: empty for none; never part of the repr.
        database: the number that SELECT takes.
    """

    host: str = ""
    port: int = PORT
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0

    def __str__(self) -> str:
        """Return the address for people, without secrets."""
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True)
class RedisOptions:
    """How the store uses a Redis.

    Attributes:
        pool_size: connections at most; 10 is envoyproxy/ratelimit's REDIS_POOL_SIZE.
        connect_timeout: seconds for a connection to be opened and greeted; 10 is upstream's REDIS_TIMEOUT, which
            too is the time to dial, but nobody waits for ours.
        jitter: a counter keyed by its window lives up to this many seconds longer; EXPIRATION_JITTER_MAX_SECONDS.
        clock: "redis" lets the server's TIME rule, so that all hosts agree; "host" the ``now`` of the call.
        budget: seconds an ask without a deadline may take; 15 ms, since Envoy gives a call 20.
        max_in_flight: charges under way at most; 10,000 are 0.1 s of work for a Redis, past every budget.
        stale_after: seconds without any reply after which a connection is given up; many budgets, but well
            before TCP would notice.
        retry_first, retry_most: seconds between attempts to connect: the first pause, and the longest.
    """

    address: Address
    pool_size: int = 10
    connect_timeout: float = 10.0
    jitter: int = 0
    clock: Literal["redis", "host"] = "redis"
    budget: float = 0.015
    max_in_flight: int = 10_000
    stale_after: float = 1.0
    retry_first: float = 0.05
    retry_most: float = 1.0


def parse_address(socket_type: str, url: str, auth: str = "") -> Address:
    """Return the address that REDIS_SOCKET_TYPE, REDIS_URL and REDIS_AUTH mean.

    ``url`` is ``host:port``, ``redis://[user:password@]host[:port][/database]``, ``unix:///path``, or, for the
    socket type ``unix``, a path. ``auth`` is ``password`` or ``user:password``, split at the first colon; it wins
    over the URL's. Raises AddressError.
    """
    username, password = credentials(auth)
    if not url:
        raise AddressError("the Redis address is empty: write host:port, redis://host:port/0 or unix:///path")
    if socket_type not in {"tcp", "unix", ""}:
        raise AddressError(f"unknown Redis socket type '{socket_type}': write tcp or unix")
    scheme, separator, rest = url.partition("://")
    if not separator:
        if socket_type == "unix" or url.startswith("/"):
            return Address(path=url, username=username, password=password)
        scheme, rest = "redis", url
    return from_scheme(scheme.lower(), rest, username, password)


def credentials(auth: str) -> tuple[str, str]:
    """Return (username, password) of REDIS_AUTH."""
    first, separator, rest = auth.partition(":")
    return (first, rest) if separator else ("", first)


def from_scheme(scheme: str, rest: str, username: str, password: str) -> Address:
    """Return the address of a URL without its scheme; these credentials, if any, win over the URL's."""
    if scheme == "unix":
        return Address(path="/" + rest.lstrip("/"), username=username, password=password)
    if scheme == "rediss":
        raise AddressError("rediss:// (TLS to Redis) is not built yet: use redis:// only where plaintext is acceptable")
    if scheme != "redis":
        raise AddressError(f"unknown Redis address scheme '{scheme}': write redis:// or unix://")
    parts = urlsplit("//" + rest)
    if not parts.hostname:
        raise AddressError("the Redis address has no host: write host:port or redis://host:port/0")
    return Address(
        host=parts.hostname,
        port=port_of(parts),
        username=username if password else unquote(parts.username or ""),
        password=password or unquote(parts.password or ""),
        database=database_of(parts),
    )


def port_of(parts: SplitResult) -> int:
    """Return the port of a URL."""
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise AddressError(f"the Redis port for host {parts.hostname} is not a number from 1 to 65535")
    return port or PORT


def database_of(parts: SplitResult) -> int:
    """Return the database number of a URL's path."""
    path = parts.path.strip("/")
    if not path:
        return 0
    if not path.isascii() or not path.isdigit():
        raise AddressError(f"the Redis database is not a number: write redis://{parts.hostname}:{port_of(parts)}/0")
    return int(path)
