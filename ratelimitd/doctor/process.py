"""Check of the process: gRPC transport, limit of open files, memory, and the files read at the start."""

import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from ratelimitd.admin import TokenError, TokenFile
from ratelimitd.app.files import RESERVE, counted, needed, remedy, users_of
from ratelimitd.app.life import StartError
from ratelimitd.app.listen import BUILD, SLOW
from ratelimitd.app.memory import mib, policy_bytes, shares, shortage, total
from ratelimitd.app.tracing import exporter_of
from ratelimitd.net.tls import TlsFiles
from ratelimitd.observe.container import memory_limit
from ratelimitd.observe.logs import hide
from ratelimitd.transport import nghttp2_available

from .finding import Finding, bad, ok, warn
from .target import PROCESS, CheckTarget


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Check the requirements of the process on this machine."""
    for each in CHECKS:
        for finding in each(target):
            yield finding


def _transport(target: CheckTarget) -> Iterator[Finding]:
    transport = target.settings.transport
    if not target.serves:
        return
    if transport == "grpcio":
        yield ok(PROCESS, "the gRPC transport is grpcio, as set by TRANSPORT")
    elif nghttp2_available():
        yield ok(PROCESS, "the gRPC transport is nghttp2, the fast transport")
    elif transport == "auto":
        yield warn(PROCESS, SLOW, BUILD)
    else:
        yield bad(PROCESS, "TRANSPORT=nghttp2, but its extension was not built", f"{BUILD}, or set TRANSPORT=auto")


def _files(target: CheckTarget) -> Iterator[Finding]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # the start raises the soft limit to the hard one
    users = users_of(target.settings, target.gateway, with_service=target.serves)
    wanted = needed(users)
    pages = wanted - RESERVE - users.redis - users.peers - users.callers
    found = (
        f"the hard limit of open files is {limit}; {wanted} are needed: {users.callers} for callers, {pages} for HTTP "
        f"ports, {users.redis} for Redis, {users.peers} for other replicas, {RESERVE} for the process itself"
    )
    if counted(limit) < wanted:
        yield warn(PROCESS, found, remedy(users))
    elif limit != resource.RLIM_INFINITY:
        yield ok(PROCESS, found)


def _memory(target: CheckTarget) -> Iterator[Finding]:
    memory, policy = memory_limit(), policy_bytes(target.source)
    short = shortage(target.settings, memory, policy, target.gateway, serves=target.serves)
    if short is not None:
        yield warn(PROCESS, short.found, short.change)
    else:
        needed = mib(total(shares(target.settings, memory, policy, target.gateway, serves=target.serves)))
        found = f"the settings may take {needed} MiB in the worst case, and this process has {memory >> 20}"
        yield ok(PROCESS, found)


def _tls(target: CheckTarget) -> Iterator[Finding]:
    settings, gateway = target.settings, target.gateway
    if target.serves and settings.grpc_server_use_tls:
        cert, key = settings.grpc_server_tls_cert, settings.grpc_server_tls_key
        change = "check GRPC_SERVER_TLS_CERT, GRPC_SERVER_TLS_KEY and GRPC_CLIENT_TLS_CACERT"
        yield _usable("gRPC", change, cert, key, settings.grpc_client_tls_cacert)
    if gateway is not None and gateway.tls is not None:
        folder = Path(gateway.file).parent
        cert, key = str(folder / gateway.tls.cert), str(folder / gateway.tls.key)
        yield _usable("the proxy", "check tls of the gateway file", cert, key)


def _usable(name: str, change: str, *files: str) -> Finding:
    try:
        TlsFiles(*files)
    except OSError as error:  # ssl.SSLError is one
        return bad(PROCESS, f"TLS of {name}: {error}", change)
    return ok(PROCESS, f"the TLS files of {name} can be used")


def _token(target: CheckTarget) -> Iterator[Finding]:
    file = target.settings.admin_token_file
    if not file:
        return
    try:
        TokenFile(file, hide)()
    except TokenError as error:
        yield bad(PROCESS, f"ADMIN_TOKEN_FILE: {error}", "write a token of at least 16 characters to it")
    else:
        yield ok(PROCESS, "ADMIN_TOKEN_FILE contains a token")


def _tracing(target: CheckTarget) -> Iterator[Finding]:
    """Make the exporter of spans as the start does; a collector that is away would be no error of the start."""
    if not target.settings.tracing_enabled:
        return
    try:
        exporter = exporter_of(target.settings)
    except StartError as error:
        yield bad(PROCESS, "spans cannot be sent", str(error))
    else:
        yield ok(PROCESS, f"spans are sent to {exporter.where}")


CHECKS: Final[tuple[Callable[[CheckTarget], Iterator[Finding]], ...]] = (
    _transport,
    _files,
    _memory,
    _tls,
    _token,
    _tracing,
)
