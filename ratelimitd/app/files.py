"""How the open files of a process are divided among its ports. The start and doctor use these functions."""

import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from ratelimitd.admin import HTTP_MOST
from ratelimitd.config.redis_address import Deployment
from ratelimitd.observe.logs import get_logger
from ratelimitd.settings import Settings

from .asking import DOCUMENTS
from .ports import bound
from .redis import redis_options
from .replicas import MOST

if TYPE_CHECKING:
    from ratelimitd.gateway import Gateway

log = get_logger(__name__)

RESERVE: Final = 96
"""Files for the log, listeners, the event loop, policy files and the child that parses them: some 20, with a margin for
connections that are accepted in the turn of the loop in which others are closed."""

GRPC_MOST: Final = 10_000
"""Connections of the gRPC port: 2,500 Envoys of four workers, each worker with one."""

CALLERS: Final = 512
"""Connections of callers to allow for: 64 Envoys with 8 workers, one connection per worker."""

HTTP_PART: Final = 16
"""Part of the files that an HTTP port has at most, so that most are left for callers."""

SIDES: Final = 2
"""A proxied request uses one file for the client and one for the upstream."""

UNLIMITED: Final = 1 << 20
"""Files that are counted on where the system has no limit: Linux' own default bound (fs.nr_open)."""


class Users(NamedTuple):
    """What uses files.

    Attributes:
        grpc: whether there is a gRPC port.
        http: HTTP ports.
        proxy: connections of clients that the gateway file allows; 0 without a proxy.
        redis: connections to Redis.
        peers: connections to other replicas.
    """

    grpc: bool
    http: int
    proxy: int
    redis: int
    peers: int = 0

    @property
    def callers(self) -> int:
        """Files for the connections of callers, without which too few are served."""
        return (CALLERS if self.grpc else 0) + SIDES * self.proxy


class Division(NamedTuple):
    """Connections of each port: gRPC, each of the HTTP ports, and the proxy."""

    grpc: int
    http: int
    proxy: int


def divide(files: int, users: Users) -> Division:
    """Divide the files of a process among its ports; the gRPC port goes before a proxy of the same process."""
    http = min(HTTP_MOST, files // HTTP_PART)
    rest = max(SIDES, files - RESERVE - users.redis - users.peers - http * users.http)
    grpc = max(min(CALLERS, rest // 2), min(GRPC_MOST, rest - SIDES * users.proxy)) if users.grpc else 0
    return Division(grpc, http, (rest - grpc) // SIDES if users.proxy else 0)


def needed(users: Users) -> int:
    """Return the files with which all callers to allow for have places."""
    most = RESERVE + users.redis + users.peers + users.callers
    return min(most + HTTP_MOST * users.http, -(-most * HTTP_PART // (HTTP_PART - users.http)))


def users_of(settings: Settings, gateway: "Gateway | None", *, with_service: bool) -> Users:
    """Return what uses files in a process with this gateway file, this service, or both."""
    names = [port.name for port in bound(settings, gateway, with_service=with_service)]
    options = redis_options(settings)
    both = () if options is None else (options.main, options.per_second)
    redises = [(each.deployment, each.pool_size) for each in both if each is not None]
    return Users(
        grpc=with_service,
        http=sum(name not in {"proxy", "gRPC"} for name in names),
        proxy=0 if gateway is None else gateway.limits.max_connections,
        redis=sum(_servers(deployment) * pool_size for deployment, pool_size in redises),
        peers=DOCUMENTS * MOST if settings.peers else 0,
    )


def _servers(deployment: Deployment) -> int:
    """Return the number of servers connected to at the same time, as far as the settings tell."""
    return len(deployment.addresses) if deployment.kind == "cluster" else 1


def remedy(users: Users) -> str:
    """Return what to set so that there are enough files."""
    also = ", or lower max_connections in the gateway file" if users.proxy else ""
    return f"raise it: LimitNOFILE={needed(users)} of systemd, or `ulimit -Hn {needed(users)}` as root{also}"


def divided(settings: Settings, gateway: "Gateway | None", *, with_service: bool) -> Division:
    """Divide the files that this process may open; warn if they are too few."""
    users = users_of(settings, gateway, with_service=with_service)
    files = counted(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    division = divide(files, users)
    if files < needed(users):
        had = {name: number for name, number in division._asdict().items() if number}
        log.warning("few files may be open", files=files, needed=needed(users), places=had, change=remedy(users))
    return division


def counted(limit: int) -> int:
    """Return the number of files that a limit stands for."""
    return UNLIMITED if limit == resource.RLIM_INFINITY else limit


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one, as Go's runtime does: a shell's 1,024 is for select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
