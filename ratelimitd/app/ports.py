"""The ports that a process binds, and whether they agree with one another and with the gateway file.

The start, ``validate`` and ``doctor`` use these functions, so they give the same answer.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ratelimitd.net.listen import address, overlap
from ratelimitd.settings import Settings

if TYPE_CHECKING:
    from ratelimitd.gateway import Gateway


class Port(NamedTuple):
    """A port to bind, and the setting that changes it; ``pages``: it serves pages, so ``bind_each`` binds it."""

    name: str
    host: str
    port: int
    setting: str
    pages: bool = False

    def __str__(self) -> str:
        """Return name and address, as shown in findings."""
        return f"{self.name} {address(self.host, self.port)}"


class Clash(NamedTuple):
    """Two users of one port: what is wrong, and what to change."""

    found: str
    change: str

    def __str__(self) -> str:
        return f"{self.found}: {self.change}"


def proxy_ports(settings: Settings, gateway: "Gateway") -> list[Port]:
    """Return the ports of a proxy: its own, then that of its pages if the file sets one."""
    host, number = settings.listen_addr or gateway.listen
    ports = [Port("proxy", host, number, "LISTEN_ADDR")]
    if gateway.admin.port is not None:
        ports.append(Port("admin", host, gateway.admin.port, "admin.port of the gateway file", pages=True))
    return ports


def wants_debug(settings: Settings) -> bool:
    """Whether the debug port is open in a proxy without the service too: with a token, or if DEBUG_PORT is set.

    Not by DEBUG_HOST alone, which the image sets for the service: nothing new should listen on all its addresses.
    """
    return bool(settings.admin_token or settings.admin_token_file) or Settings.debug_port.name in settings.given


def debug_port(settings: Settings) -> Port:
    """Return the debug port: that of a service, and of a proxy that ``wants_debug``."""
    return Port("debug", settings.debug_host, settings.debug_port, "DEBUG_PORT", pages=True)


def peer_ports(settings: Settings) -> list[Port]:
    """Return the port for other replicas, if there is one."""
    return [] if settings.peer_addr is None else [Port("peer", *settings.peer_addr, "PEER_ADDR", pages=True)]


def service_ports(settings: Settings) -> list[Port]:
    """Return the ports of the rate-limit service."""
    ports = [
        Port("HTTP", settings.host, settings.port, "PORT", pages=True),
        debug_port(settings),
        *peer_ports(settings),
    ]
    if not settings.grpc_uds:
        ports.append(Port("gRPC", settings.grpc_host, settings.grpc_port, "GRPC_PORT"))
    if settings.use_prometheus and not settings.disable_stats:
        ports.append(Port("Prometheus", *settings.prometheus_addr, "PROMETHEUS_ADDR", pages=True))
    return ports


def bound(settings: Settings, gateway: "Gateway | None", *, with_service: bool) -> list[Port]:
    """Return the ports that a process with this gateway file, this service, or both binds; see ``beside_proxy``."""
    proxy = [] if gateway is None else proxy_ports(settings, gateway)
    if with_service:
        return proxy + service_ports(settings)
    return [*proxy, debug_port(settings), *peer_ports(settings)] if wants_debug(settings) else proxy


def clashing(settings: Settings, gateway: "Gateway | None", *, with_service: bool) -> list[Clash]:
    """Return the ports that are bound twice, and the upstreams at a port of this process."""
    ports = bound(settings, gateway, with_service=with_service)
    twice = [
        Clash(f"{other.name} and {port.setting} are both {port.port}", f"set {port.setting} to a different port")
        for port, other in duplicates(ports).items()
    ]
    return twice + list(_upstreams(ports, gateway))


def duplicates(ports: Sequence[Port]) -> dict[Port, Port]:
    """Return each port that equals an earlier one of the same process, with that one."""
    found: dict[Port, Port] = {}
    for turn, port in enumerate(ports):
        for other in ports[:turn]:
            if port.port and port.port == other.port and overlap(port.host, other.host):
                found[port] = other
    return found


def _upstreams(ports: Sequence[Port], gateway: "Gateway | None") -> Iterator[Clash]:
    if gateway is None:
        return
    from ratelimitd.gateway import upstream_at  # noqa: PLC0415 -- a service has no gateway file, and needs no YAML

    for port in ports:
        upstream = upstream_at(gateway, port.host, port.port)
        if upstream is not None:
            found = f"upstream '{upstream}' is the {port.name} port of this process, {port.port}"
            yield Clash(found, f"set {port.setting} to a different port, or write the address of the application")
