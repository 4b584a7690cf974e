"""Check of the ports that the service binds: free, or in use by a ratelimitd that is already running."""

import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from ratelimitd.app.ports import Port, bound, clashing, duplicates
from ratelimitd.http1 import Endpoint, FetchError, fetch
from ratelimitd.net.listen import LOOPBACK, THIS_HOST, address, bind, bind_each

from .blocking import within
from .finding import Finding, bad, ok, warn
from .owner import owner
from .target import PORTS, CheckTarget

PAGE_TIMEOUT: Final = 1.0
"""Seconds for a liveness page to answer."""

ALIVE_BODY: Final = b"OK"
"""Body of the liveness pages of a running ratelimitd."""

BIND_TIMEOUT: Final = 2.0
"""Seconds to bind all ports; a host name among the addresses may have to be resolved."""


class LivenessPage(NamedTuple):
    """The liveness page of a ratelimitd with these settings."""

    port: Port
    path: str
    tls: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """Endpoint for a client on this host."""
        return Endpoint(LOOPBACK.get(self.port.host, self.port.host), self.port.port, self.tls)

    @property
    def url(self) -> str:
        """URL for a client on this host."""
        return f"http{'s' if self.tls else ''}://{self.endpoint}{self.path}"


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Bind every port, and find out whether those in use belong to a ratelimitd."""
    ports, pages = wanted(target)
    for clash in clashing(target.settings, target.gateway, with_service=target.serves):
        yield bad(PORTS, *clash)
    same = duplicates(ports)
    ports = [port for port in ports if port not in same]
    try:
        refused = await within(BIND_TIMEOUT, lambda: bind_failures(ports))
    except TimeoutError:
        yield bad(PORTS, f"not bound within {BIND_TIMEOUT:g} s", "set HOST, GRPC_HOST and DEBUG_HOST to IP addresses")
        return
    uds = target.settings.grpc_uds if target.serves else ""
    in_use = await within(BIND_TIMEOUT, lambda: _in_use(uds))
    alive = ""
    for page in pages if in_use or any(taken for _, taken in refused.values()) else ():
        alive = alive or (page.url if await _is_alive(page) else "")
    for port in ports:
        why, taken = refused.get(port, ("", False))
        holder = await within(BIND_TIMEOUT, partial(owner, port.port)) if taken and not alive else ""
        yield _port_finding(port, why, taken, alive or holder, answers=bool(alive))
    if uds:
        yield _socket_file(uds, alive, in_use=in_use)
    for finding in _admin(target):
        yield finding


def wanted(target: CheckTarget) -> tuple[list[Port], list[LivenessPage]]:
    """Return the ports to bind, and the liveness pages that identify a running instance."""
    settings, gateway = target.settings, target.gateway
    ports = bound(settings, gateway, with_service=target.serves)
    pages = []
    if gateway is not None:
        prefixed = LivenessPage(ports[0], f"{gateway.admin.prefix}/healthz", gateway.tls is not None)
        pages.append(LivenessPage(ports[1], "/healthz") if gateway.admin.port is not None else prefixed)
    if target.serves:
        http = next(port for port in ports if port.setting == "PORT")
        pages.append(LivenessPage(http, "/livez"))
    return ports, pages


def bind_failures(ports: list[Port]) -> dict[Port, tuple[str, bool]]:
    """Bind and release each port as the service does; returns the failures: reason, and whether it is in use."""
    refused = {}
    with ExitStack() as stack:
        for port in ports:
            try:
                for sock in bind_each(port.host, port.port) if port.pages else [bind(port.host, port.port)]:
                    stack.callback(sock.close)
            except OSError as error:
                refused[port] = error.strerror or str(error), error.errno == errno.EADDRINUSE
    return refused


def _port_finding(port: Port, why: str, taken: bool, by: str, *, answers: bool) -> Finding:
    """Return whether a port can be bound. ``by``: the URL that a ratelimitd answers, or a process; "" if unknown."""
    if not why:
        return ok(PORTS, f"{port} is free")
    if not taken:
        low = "a port below 1024 requires CAP_NET_BIND_SERVICE: "
        return bad(PORTS, f"{port.name}: {why}", f"{low if 0 < port.port < 1024 else ''}set {port.setting} or its host")
    if answers:
        return ok(PORTS, f"{port} is in use by the ratelimitd that answers {by}")
    if by:
        return bad(PORTS, f"{port} is in use by {by}", f"stop it, or set {port.setting}")
    find = f"find the process with `ss -ltnp 'sport = :{port.port}'`"
    return bad(PORTS, f"{port} is in use, and not by a ratelimitd", f"{find} and stop it, or set {port.setting}")


async def _is_alive(page: LivenessPage) -> bool:
    """Whether a ratelimitd answers there; the name in its certificate is not checked."""
    tls = _unverified() if page.tls else None
    with suppress(FetchError, ValueError):
        answer = await fetch(
            page.endpoint, b"GET", page.path.encode(), seconds=PAGE_TIMEOUT, max_body=len(ALIVE_BODY), tls=tls
        )
        return (answer.status, answer.body) == (200, ALIVE_BODY)
    return False


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _in_use(path: str) -> bool:
    """Whether a process listens on the unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PAGE_TIMEOUT)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _socket_file(path: str, alive: str, *, in_use: bool) -> Finding:
    """Return whether GRPC_UDS can be created, or is in use by a ratelimitd."""
    file, name = Path(path), f"gRPC unix:{path}"
    if in_use and alive:
        return ok(PORTS, f"{name} is in use by the ratelimitd that answers {alive}")
    if in_use:
        return bad(
            PORTS, f"{name} is in use, and not by a ratelimitd", "stop that process (`ss -lxp`), or set GRPC_UDS"
        )
    if file.exists() and not file.is_socket():
        return bad(PORTS, f"{name} is a file, not a socket", "remove it, or set GRPC_UDS to another path")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        change = "set GRPC_UDS to a path in a directory that this user may write to"
        return bad(PORTS, f"{name} cannot be created: its directory does not exist or is not writable", change)
    return ok(PORTS, f"{name} is free")


def _admin(target: CheckTarget) -> Iterator[Finding]:
    """Warn of an admin API that is reachable from other hosts: its token is sent over plain HTTP."""
    settings = target.settings
    if settings.admin_remote and settings.debug_host not in THIS_HOST:
        found = f"the admin API answers every caller that can reach {address(settings.debug_host, settings.debug_port)}"
        yield warn(
            PORTS,
            f"{found} and has the token, which is sent in plain text",
            "set DEBUG_HOST=localhost and unset ADMIN_REMOTE, or restrict access with a network policy",
        )
