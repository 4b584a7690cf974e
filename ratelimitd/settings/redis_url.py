"""Where Redis is: REDIS_URL in the three forms people write it in."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

REDIS_PORT: Final = 6379
"""Registered for Redis with IANA, and the default of every client."""

_DATABASE: Final = re.compile(r"/?|/(\d+)", re.ASCII)


class RedisAddress(NamedTuple):
    """One Redis server.

    Attributes:
        host, port: of a TCP server; "" and 0 for a unix socket.
        path: of a unix socket; "" for TCP.
        user, password: for AUTH; both may be empty.
        database: for SELECT.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    user: str = ""
    password: str = ""
    database: int = 0

    def __str__(self) -> str:
        """Say where it is without the credentials."""
        place = self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")
        return f"{place}/{self.database}" if self.database else place

    def __repr__(self) -> str:
        """Keep the password out of every trace."""
        return f"RedisAddress({self})"


def redis_address(value: str) -> RedisAddress | None:
    """Read ``host:port``, ``redis://[user:password@]host[:port][/database]`` or the path of a unix socket.

    Empty is None. Raises ValueError for anything else, also for what needs TLS, Sentinel or a cluster.
    """
    if not value:
        return None
    if value.startswith("rediss://"):
        raise ValueError("TLS to Redis is not built yet, and plain text instead would not be what you asked for")
    if value.startswith("redis://"):
        return _from_url(value.removeprefix("redis://"))
    path = value.removeprefix("unix://")
    if path.startswith("/"):
        return RedisAddress(path=path)
    if "@" in value or "/" in value:
        raise ValueError("not host:port; with credentials or a database write redis://user:password@host:port/0")
    host, port = _host_port(value)
    return RedisAddress(host, port)


def credentials(value: str) -> tuple[str, str]:
    """Split REDIS_AUTH, ``password`` or ``user:password``, at its first colon as upstream does."""
    user, colon, password = value.partition(":")
    return (user, password) if colon else ("", value)


def _from_url(rest: str) -> RedisAddress:
    if "?" in rest or "#" in rest:
        raise ValueError("a query is not supported; percent-encode ? and # of a password as %3F and %23")
    userinfo, _, place = rest.rpartition("@")
    user, _, password = userinfo.partition(":")
    address, slash, tail = place.partition("/")
    database = _DATABASE.fullmatch(slash + tail)
    if not database:
        raise ValueError("the database after the host must be a number, as in redis://host:6379/0")
    host, port = _host_port(address)
    return RedisAddress(host, port, "", unquote(user), unquote(password), int(database[1] or 0))


def _host_port(value: str) -> tuple[str, int]:
    if "," in value:
        raise ValueError("a list is for Sentinel or a cluster, which are not built yet; name one server")
    host, colon, port = value.rpartition(":")
    if not colon or value.endswith("]"):
        host, port = value, str(REDIS_PORT)
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare and not host.startswith("[")) or any(character.isspace() for character in host):
        raise ValueError("not host:port; write redis:6379, [::1]:6379 or the path of a unix socket")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise ValueError("the port must be a number from 1 to 65535")
    return bare, int(port)
