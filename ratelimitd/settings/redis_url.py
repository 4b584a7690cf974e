"""Parsing of REDIS_URL in its three forms."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from ratelimitd.config.redis_address import REDIS_PORT, Credentials, Deployment, RedisAddress, RedisKind

_DATABASE: Final = re.compile(r"/?|/(\d+)", re.ASCII)


class RedisUrl(NamedTuple):
    """REDIS_URL, or one address of it.

    Attributes:
        credentials: those of each address, empty if it has none.
        tls: whether an address has the scheme rediss.
    """

    deployment: Deployment
    credentials: tuple[Credentials, ...]
    tls: bool = False

    def __str__(self) -> str:
        """Return the servers and the database, without the credentials."""
        database = self.deployment.database
        return f"{self.deployment}/{database}" if database else str(self.deployment)


def redis_parts(value: str) -> tuple[str, ...]:
    """Split REDIS_URL at its commas; an empty text gives no parts."""
    parts = tuple(part.strip() for part in value.split(",")) if value else ()
    if not all(parts):
        raise ValueError("empty address between two commas, or before the first or after the last comma")
    return parts


def read_redis_url(kind: RedisKind, parts: tuple[str, ...]) -> RedisUrl | None:
    """Parse the parts of REDIS_URL by REDIS_TYPE; returns None for no parts. Raises ValueError.

    single: one address. cluster: some nodes. sentinel: the name of the master, then some Sentinels (upstream's form).
    """
    if not parts:
        return None
    if kind == "single" and len(parts) > 1:
        raise ValueError("a list of addresses requires REDIS_TYPE=cluster or sentinel; set it, or write one address")
    master = parts[0] if kind == "sentinel" else ""
    servers = tuple(map(redis_address, parts[1:] if master else parts))
    if kind != "single":
        _check_servers(kind, master, servers)
    addresses = tuple(server.deployment.addresses[0] for server in servers)
    deployment = Deployment(addresses, kind, master, servers[0].deployment.database)
    credentials = tuple(server.credentials[0] for server in servers)
    return RedisUrl(deployment, credentials, any(server.tls for server in servers))


def _check_servers(kind: RedisKind, master: str, servers: tuple[RedisUrl, ...]) -> None:
    if master and (not servers or "://" in master):
        raise ValueError("write the name of the master, then the Sentinels: mymaster,sentinel-1:26379,sentinel-2:26379")
    if master and any(any(server.credentials[0]) for server in servers):
        raise ValueError(
            "credentials in the address of a Sentinel are ambiguous; set those of the master in REDIS_AUTH and those "
            "of the Sentinels in REDIS_SENTINEL_AUTH"
        )
    if any(server.deployment.addresses[0].path or server.deployment.database for server in servers):
        raise ValueError(
            f"a {kind} takes addresses of the form host:port, without a database and without the path of a socket"
        )


def redis_address(value: str) -> RedisUrl:
    """Parse ``host:port``, ``redis://[user:password@]host[:port][/database]`` or the path of a unix socket.

    ``rediss://`` means TLS. Raises ValueError for anything else.
    """
    for scheme in ("redis://", "rediss://"):
        if value.startswith(scheme):
            return _from_url(value.removeprefix(scheme))._replace(tls=scheme == "rediss://")
    path = value.removeprefix("unix://")
    if path.startswith("/"):
        return _single(RedisAddress(path=path))
    if "@" in value or "/" in value:
        raise ValueError("not host:port; with credentials or a database write redis://user:password@host:port/0")
    return _single(_host_port(value))


def credentials(value: str) -> Credentials:
    """Split REDIS_AUTH, ``password`` or ``user:password``, at its first colon as upstream does."""
    user, colon, password = value.partition(":")
    return Credentials(user, password) if colon else Credentials("", value)


def _single(address: RedisAddress, user: str = "", password: str = "", database: int = 0) -> RedisUrl:
    return RedisUrl(Deployment((address,), database=database), (Credentials(user, password),))


def _from_url(rest: str) -> RedisUrl:
    if "?" in rest or "#" in rest:
        raise ValueError("a query is not supported; percent-encode ? and # in a password as %3F and %23")
    userinfo, _, place = rest.rpartition("@")
    user, _, password = userinfo.partition(":")
    address, slash, tail = place.partition("/")
    database = _DATABASE.fullmatch(slash + tail)
    if not database:
        raise ValueError("the database after the host must be a number, for example redis://host:6379/0")
    if user and not password:
        raise ValueError("a user requires a password, for example redis://user:password@host")
    return _single(_host_port(address), unquote(user), unquote(password), int(database[1] or 0))


def _host_port(value: str) -> RedisAddress:
    host, colon, port = value.rpartition(":")
    if not colon or value.endswith("]"):
        host, port = value, str(REDIS_PORT)
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare and not host.startswith("[")) or any(character.isspace() for character in host):
        raise ValueError("not host:port; write redis:6379, [::1]:6379 or the path of a unix socket")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise ValueError("the port must be a number from 1 to 65535")
    return RedisAddress(bare, int(port))
