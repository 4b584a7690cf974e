"""Where Redis is: REDIS_URL in the three forms people write it in."""

import re
from typing import Final, Literal, NamedTuple
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
        tls: the scheme was rediss.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    user: str = ""
    password: str = ""
    database: int = 0
    tls: bool = False

    def __str__(self) -> str:
        """Say where it is without the credentials."""
        place = self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")
        return f"{place}/{self.database}" if self.database else place

    def __repr__(self) -> str:
        """Keep the password out of every trace."""
        return f"RedisAddress({self})"


Kind = Literal["single", "sentinel", "cluster"]


class RedisPlace(NamedTuple):
    """One Redis, whatever it consists of.

    Attributes:
        kind: single, sentinel or cluster.
        addresses: of the server, the Sentinels, or some nodes of the cluster.
        master: the name by which Sentinels know the master.
    """

    kind: Kind
    addresses: tuple[RedisAddress, ...]
    master: str = ""

    def __str__(self) -> str:
        """Say where it is without the credentials."""
        places = ",".join(map(str, self.addresses))
        return {"sentinel": f"{self.master} of {places}", "cluster": f"cluster {places}"}.get(self.kind, places)

    @property
    def tls(self) -> bool:
        """Whether the scheme of some address says so."""
        return any(address.tls for address in self.addresses)


def redis_parts(value: str) -> tuple[str, ...]:
    """Split REDIS_URL at its commas; empty is none."""
    parts = tuple(part.strip() for part in value.split(",")) if value else ()
    if not all(parts):
        raise ValueError("there is nothing between two commas, or before the first or behind the last")
    return parts


def redis_place(kind: Kind, parts: tuple[str, ...]) -> RedisPlace | None:
    """Read the parts of REDIS_URL as REDIS_TYPE says; none is None. Raises ValueError.

    single: one address. cluster: some nodes. sentinel: the name of the master, then some Sentinels (upstream's form).
    """
    if not parts:
        return None
    if kind == "single":
        if len(parts) > 1:
            raise ValueError("a list is for REDIS_TYPE=cluster or sentinel; name one server, or say which it is")
        return RedisPlace(kind, (redis_address(parts[0]),))
    master = parts[0] if kind == "sentinel" else ""
    addresses = tuple(map(redis_address, parts[1:] if master else parts))
    if master and (not addresses or "://" in master):
        raise ValueError("write the name of the master, then the Sentinels: mymaster,sentinel-1:26379,sentinel-2:26379")
    if master and any(address.user or address.password for address in addresses):
        raise ValueError(
            "credentials in a Sentinel's address could be meant for it or for the master: write those of the master "
            "in REDIS_AUTH, the Sentinels' in REDIS_SENTINEL_AUTH"
        )
    if any(address.path or address.database for address in addresses):
        raise ValueError(f"a {kind} is named by host:port, without a database or the path of a socket")
    return RedisPlace(kind, addresses, master)


def redis_address(value: str) -> RedisAddress:
    """Read ``host:port``, ``redis://[user:password@]host[:port][/database]`` or the path of a unix socket.

    ``rediss://`` means TLS. Raises ValueError for anything else.
    """
    for scheme in ("redis://", "rediss://"):
        if value.startswith(scheme):
            return _from_url(value.removeprefix(scheme))._replace(tls=scheme == "rediss://")
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
    if user and not password:
        raise ValueError("a user needs a password beside it, as in redis://user:password@host")
    host, port = _host_port(address)
    return RedisAddress(host, port, "", unquote(user), unquote(password), int(database[1] or 0))


def _host_port(value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not colon or value.endswith("]"):
        host, port = value, str(REDIS_PORT)
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare and not host.startswith("[")) or any(character.isspace() for character in host):
        raise ValueError("not host:port; write redis:6379, [::1]:6379 or the path of a unix socket")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise ValueError("the port must be a number from 1 to 65535")
    return bare, int(port)
