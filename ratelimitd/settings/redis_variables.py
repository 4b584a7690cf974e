"""The variables that each of the two Redis deployments has."""

from collections.abc import Mapping
from typing import Any, Final

from ratelimitd.config.redis_address import Credentials, RedisKind

MAIN_REDIS: Final = "REDIS_"
PER_SECOND_REDIS: Final = "REDIS_PERSECOND_"
"""Prefixes of the names of the variables of each Redis."""


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
