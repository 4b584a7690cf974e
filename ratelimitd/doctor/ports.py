"""The ports that the service binds: free, or held by a ratelimitd that runs already."""

import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple

from ratelimitd.http1 import Endpoint, FetchError, fetch
from ratelimitd.net.listen import address, bind

from .blocking import within
from .finding import Finding, bad, ok, warn
from .target import PORTS, Case

ANSWERS: Final = 1.0
"""Seconds for a page that says OK."""

LIVES: Final = b"OK"
"""Body of the pages that say that a ratelimitd lives."""

BINDING: Final = 2.0
"""Seconds to bind everything; a host name among the addresses may have to be looked up."""

LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- read, not bound


class Port(NamedTuple):
    """One that is to be bound, and the setting that moves it."""

    name: str
    host: str
    port: int
    setting: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.name} {address(self.host, self.port)}"


class Page(NamedTuple):
    """Where a ratelimitd with these settings says that it lives."""

    port: Port
    path: str
    tls: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """As a client on this host reaches it."""
        return Endpoint(LOOPBACK.get(self.port.host, self.port.host), self.port.port, self.tls)

    @property
    def url(self) -> str:
        """As a client on this host asks for it."""
        return f"http{'s' if self.tls else ''}://{self.endpoint}{self.path}"


async def check(case: Case) -> AsyncIterator[Finding]:
    """Bind every port, and ask who has those that are taken."""
    ports, pages = wanted(case)
    same = twice(ports)
    for port, other in same.items():
        yield bad(PORTS, f"{port} and {other} are the same port", f"set {port.setting} to another one")
    ports = [port for port in ports if port not in same]
    try:
        refused = await within(BINDING, lambda: tried(ports))
    except TimeoutError:
        yield bad(PORTS, f"not bound within {BINDING:g} s", "write IP addresses for HOST, GRPC_HOST and DEBUG_HOST")
        return
    uds = case.settings.grpc_uds if case.serves else ""
    held = await within(BINDING, lambda: _held(uds))
    lives = ""
    for page in pages if held or any(taken for _, taken in refused.values()) else ():
        lives = lives or (page.url if await _alive(page) else "")
    for port in ports:
        yield _judged(port, *refused.get(port, ("", False)), lives)
    if uds:
        yield _socket_file(uds, lives, held=held)
    for finding in _admin(case):
        yield finding


def wanted(case: Case) -> tuple[list[Port], list[Page]]:
    """Return the ports to bind, and the pages by which one that runs already is known."""
    settings, gateway = case.settings, case.gateway
    ports, pages = [], []
    if gateway is not None:
        host, number = settings.listen_addr or gateway.listen
        ports.append(Port("proxy", host, number, "LISTEN_ADDR"))
        pages.append(Page(ports[0], f"{gateway.admin.prefix}/healthz", gateway.tls is not None))
        if gateway.admin.port is not None:
            ports.append(Port("admin", host, gateway.admin.port, "admin.port of the gateway file"))
            pages[0] = Page(ports[-1], "/healthz")
    if case.serves:
        http = Port("HTTP", settings.host, settings.port, "PORT")
        ports += [http, Port("debug", settings.debug_host, settings.debug_port, "DEBUG_PORT")]
        pages.append(Page(http, "/livez"))
        if not settings.grpc_uds:
            ports.append(Port("gRPC", settings.grpc_host, settings.grpc_port, "GRPC_PORT"))
        if settings.use_prometheus and not settings.disable_stats:
            ports.append(Port("Prometheus", *settings.prometheus_addr, "PROMETHEUS_ADDR"))
    return ports, pages


def twice(ports: list[Port]) -> dict[Port, Port]:
    """Return those that are the same as another of our own, and which that is."""
    found: dict[Port, Port] = {}
    for turn, port in enumerate(ports):
        for other in ports[:turn]:
            same_host = port.host == other.host or {port.host, other.host} & LOOPBACK.keys()
            if port.port and port.port == other.port and same_host:
                found[port] = other
    return found


def tried(ports: list[Port]) -> dict[Port, tuple[str, bool]]:
    """Bind each as the service does, and let go of it; returns why some could not be, and whether they were taken."""
    refused = {}
    with ExitStack() as stack:
        for port in ports:
            try:
                stack.callback(bind(port.host, port.port).close)
            except OSError as error:
                refused[port] = error.strerror or str(error), error.errno == errno.EADDRINUSE
    return refused


def _judged(port: Port, why: str, taken: bool, lives: str) -> Finding:  # noqa: FBT001 -- a state
    if not why:
        return ok(PORTS, f"{port} is free")
    if not taken:
        low = "a port below 1024 needs a right (CAP_NET_BIND_SERVICE): "
        return bad(PORTS, f"{port.name}: {why}", f"{low if 0 < port.port < 1024 else ''}set {port.setting} or its host")
    if lives:
        return ok(PORTS, f"{port} is taken, by the ratelimitd that answers {lives}")
    who = f"`ss -ltnp 'sport = :{port.port}'` says who has it"
    return bad(PORTS, f"{port} is taken, and not by a ratelimitd", f"{who}: end that, or set {port.setting}")


async def _alive(page: Page) -> bool:
    """Whether what listens there says OK as a ratelimitd does; its certificate may be for another name."""
    tls = _unverified() if page.tls else None
    with suppress(FetchError, ValueError):
        answer = await fetch(page.endpoint, b"GET", page.path.encode(), seconds=ANSWERS, max_body=len(LIVES), tls=tls)
        return (answer.status, answer.body) == (200, LIVES)
    return False


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _held(path: str) -> bool:
    """Whether somebody listens on the unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWERS)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _socket_file(path: str, lives: str, *, held: bool) -> Finding:
    """GRPC_UDS can be made, or is held by a ratelimitd."""
    file, name = Path(path), f"gRPC unix:{path}"
    if held and lives:
        return ok(PORTS, f"{name} is taken, by the ratelimitd that answers {lives}")
    if held:
        return bad(PORTS, f"{name} is taken, and not by a ratelimitd", "end who has it (`ss -lxp`), or set GRPC_UDS")
    if file.exists() and not file.is_socket():
        return bad(PORTS, f"{name} is a file, and no socket", "remove it, or set GRPC_UDS to another path")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        change = "let GRPC_UDS name a file in a folder that this user may write to"
        return bad(PORTS, f"{name} cannot be made: its folder is missing, or not ours to write to", change)
    return ok(PORTS, f"{name} is free")


def _admin(case: Case) -> Iterator[Finding]:
    """The admin API's token goes over plain HTTP."""
    settings = case.settings
    if case.serves and settings.admin_remote and settings.debug_host not in ("127.0.0.1", "::1", "localhost"):
        found = f"the admin API answers anybody who reaches {address(settings.debug_host, settings.debug_port)}"
        yield warn(
            PORTS,
            f"{found} and has the token, which travels in plain text",
            "set DEBUG_HOST=127.0.0.1 and unset ADMIN_REMOTE, or let a network policy keep strangers away",
        )
