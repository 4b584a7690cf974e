"""Where a Redis is and how it is used."""

from dataclasses import dataclass, field
from typing import Final, Literal

PORT: Final = 6379
"""The port that Redis is known by, https://www.iana.org/assignments/service-names-port-numbers."""


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
