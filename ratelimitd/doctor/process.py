"""The process: what carries gRPC, how many files it may open, and the files it reads at the start."""

import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from ratelimitd.admin import TokenError, TokenFile
from ratelimitd.config.redis_address import Deployment
from ratelimitd.net.tls import TlsFiles
from ratelimitd.observe.logs import hide
from ratelimitd.transport import nghttp2_available

from .finding import Finding, bad, ok, warn
from .redis import redises
from .target import PROCESS, Case

OWN_FILES: Final = 64
"""Log, listeners, the loop's own and the child that parses policies, with room to spare."""

CALLERS: Final = 512
"""Connections from callers to have files for: 64 Envoys of 8 workers, and each worker has one."""

SIDES: Final = 2
"""A proxied request has one file towards the client and one towards the upstream."""

BUILD: Final = "install libnghttp2-dev and a C compiler, and install ratelimitd again"


async def check(case: Case) -> AsyncIterator[Finding]:
    """Look at what the process needs of its machine."""
    for look in LOOKS:
        for finding in look(case):
            yield finding


def _transport(case: Case) -> Iterator[Finding]:
    transport = case.settings.transport
    if not case.serves:
        return
    if transport == "grpcio":
        yield ok(PROCESS, "gRPC goes over grpcio, as TRANSPORT says")
    elif nghttp2_available():
        yield ok(PROCESS, "gRPC goes over nghttp2, the fast transport")
    elif transport == "auto":
        yield warn(PROCESS, "the fast transport was not built, so gRPC goes over grpcio, many times slower", BUILD)
    else:
        yield bad(PROCESS, "TRANSPORT=nghttp2, but its extension was not built", f"{BUILD}, or set TRANSPORT=auto")


def _files(case: Case) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    settings, gateway = case.settings, case.gateway
    servers = sum(_servers(redis.connect.deployment) * redis.connect.pool_size for redis in redises(settings))
    callers = (CALLERS if case.serves else 0) + (SIDES * gateway.limits.max_connections if gateway else 0)
    needed = OWN_FILES + servers + callers
    found = (
        f"{soft} files may be open; {needed} are for {callers} connections of callers, {servers} to Redis and the rest"
    )
    if soft < needed:
        how = f"`ulimit -n {needed}`, LimitNOFILE= of systemd" + (" as root" if needed > hard else "")
        also = ", or lower max_connections in the gateway file" if gateway else ""
        yield warn(PROCESS, found, how + also)
    else:
        yield ok(PROCESS, found)


def _servers(deployment: Deployment) -> int:
    """Return how many are connected to at once, as far as the settings tell."""
    return len(deployment.addresses) if deployment.kind == "cluster" else 1


def _tls(case: Case) -> Iterator[Finding]:
    settings, gateway = case.settings, case.gateway
    if case.serves and settings.grpc_server_use_tls:
        cert, key = settings.grpc_server_tls_cert, settings.grpc_server_tls_key
        change = "look at GRPC_SERVER_TLS_CERT, GRPC_SERVER_TLS_KEY and GRPC_CLIENT_TLS_CACERT"
        yield _usable("gRPC", change, cert, key, settings.grpc_client_tls_cacert)
    if gateway is not None and gateway.tls is not None:
        folder = Path(gateway.file).parent
        cert, key = str(folder / gateway.tls.cert), str(folder / gateway.tls.key)
        yield _usable("the proxy", "look at tls of the gateway file", cert, key)


def _usable(name: str, change: str, *files: str) -> Finding:
    try:
        TlsFiles(*files)
    except OSError as error:  # ssl.SSLError is one
        return bad(PROCESS, f"TLS of {name}: {error}", change)
    return ok(PROCESS, f"the TLS files of {name} can be used")


def _token(case: Case) -> Iterator[Finding]:
    file = case.settings.admin_token_file
    if not file or not case.serves:
        return
    try:
        TokenFile(file, hide)()
    except TokenError as error:
        yield bad(PROCESS, f"ADMIN_TOKEN_FILE: {error}", "write a token of 16 characters or more into it")
    else:
        yield ok(PROCESS, "ADMIN_TOKEN_FILE holds a token")


LOOKS: Final[tuple[Callable[[Case], Iterator[Finding]], ...]] = (_transport, _files, _tls, _token)
