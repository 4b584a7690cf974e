"""The variables that each of the two Redis deployments has."""

from collections.abc import Mapping
from typing import Any, Final, cast

from ratelimitd.config.redis_address import Credentials, RedisKind
from ratelimitd.config.values import choice
from ratelimitd.settings.redis_url import credentials

MAIN_REDIS: Final = "REDIS_"
PER_SECOND_REDIS: Final = "REDIS_PERSECOND_"
"""Prefixes of the names of the variables of each Redis."""


_ANY_KIND: Final = choice("single", "sentinel", "cluster")

ADDRESS_TEXT: Final = (
    "host:port, redis://[user:password@]host[:port][/database], rediss://… for TLS, or the path of a unix socket. "
    "For a cluster: some nodes, separated by commas. For Sentinel: the name of the master, then some Sentinels."
)
TIMEOUT_TEXT: Final = (
    "Timeout of a connection attempt, including the handshake. 10s in envoyproxy/ratelimit; a store that must answer "
    "within milliseconds is near, and an attempt that hangs delays the next one."
)

OF_THE_SECOND: Final[Mapping[str, str]] = {
    "url": ", for the second Redis",
    "tls": ", for the second Redis only; the files are the same",
}
"""Additions to the text "As <variable of the first Redis>"."""


def redis_kind(value: str) -> RedisKind:
    """Parse the kind of a deployment."""
    return cast("RedisKind", _ANY_KIND(value))


def optional_credentials(value: str) -> Credentials | None:
    """Parse ``user:password`` or a password; None for an empty value."""
    return credentials(value) if value else None


class RedisVariables:
    """Values of the variables that each Redis has; an attribute is named by the end of the variable, in lower case."""

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
