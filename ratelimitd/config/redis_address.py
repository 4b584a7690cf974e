"""Addresses of Redis: parsed from the settings, used by the store."""

from typing import Final, Literal, NamedTuple

REDIS_PORT: Final = 6379
"""The port of Redis, https://www.iana.org/assignments/service-names-port-numbers, and the default of every client."""


class RedisAddress(NamedTuple):
    """One server: a host and a port, or the path of a unix socket."""

    host: str = ""
    port: int = REDIS_PORT
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


class Credentials(NamedTuple):
    """Credentials for AUTH.

    Attributes:
        username: empty for the server's default user.
        password: empty for none.
    """

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Omit the password, so that it appears in no traceback."""
        return f"Credentials({self.username!r})"


RedisKind = Literal["single", "sentinel", "cluster"]
"""One server; a master that Sentinels name; a cluster."""


class Deployment(NamedTuple):
    """A single server, a master with Sentinels, or a cluster.

    Attributes:
        addresses: of the server, of the Sentinels, or of some nodes of the cluster.
        master: name of the master in the Sentinels.
        database: number for SELECT; a cluster has only 0.
    """

    addresses: tuple[RedisAddress, ...]
    kind: RedisKind = "single"
    master: str = ""
    database: int = 0

    def __str__(self) -> str:
        """Return its servers, without the database."""
        servers = ",".join(map(str, self.addresses))
        return {"single": "", "sentinel": f"{self.master} of ", "cluster": "cluster "}[self.kind] + servers
