"""The active gateway file: read at the start and on every change, and activated together with its policies."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from ratelimitd.gateway import (
    Backend,
    Gateway,
    Proxy,
    Router,
    Snapshot,
    counted_headers,
    domain_of,
    read_gateway,
    trust,
)
from ratelimitd.http1 import Server, Sweeper, Upstream
from ratelimitd.observe.logs import get_logger
from ratelimitd.policy import Policy, PolicyError, PolicyErrors
from ratelimitd.sources import read_file

from .policies import Accept
from .ports import Clash
from .queueing import waiting_most
from .upstream_tls import UpstreamTls, compared, upstream_tls

log = get_logger(__name__)

FIXED = ("listen", "tls", "admin")
"""Keys of a file that take effect only at the start, when the ports are bound."""


async def read(path: str) -> Gateway:
    """Read a gateway file, and the files of authorities that it names, in a thread. Raises PolicyErrors."""
    gateway = await _parsed(path)
    await asyncio.to_thread(upstream_tls, gateway)
    return gateway


async def _parsed(path: str) -> Gateway:
    try:
        content = await asyncio.to_thread(read_file, path)
    except OSError as error:
        raise PolicyErrors([PolicyError(path, 0, f"cannot be read: {error.strerror}")]) from None
    return await asyncio.to_thread(read_gateway, path, content)


class GatewayFiles:
    """Activates a gateway file together with its policies.

    Args:
        gateway: the file as read at the start.
        clashing: finds what does not agree with the ports of this process, which a new file is then refused for.
        trusted_peers: TRUSTED_PEERS, which stand for many clients, as the file's ``trusted_proxies`` do.

    Attributes:
        upstreams: active upstreams by name.
    """

    def __init__(
        self,
        gateway: Gateway,
        proxy: Proxy,
        server: Server,
        sweeper: Sweeper,
        clashing: Callable[[Gateway], Sequence[Clash]] = lambda _: (),
        trusted_peers: Sequence[str] = (),
    ) -> None:
        self.upstreams: dict[str, Upstream] = {}
        self._made: dict[str, tuple[Backend, bytes]] = {}
        self._gateway = gateway
        self._clashing = clashing
        self._trusted_peers = trusted_peers
        self._proxy = proxy
        self._server = server
        self._sweeper = sweeper

    async def prepare(self) -> Accept:
        """Read the current file."""
        gateway = await _parsed(self._gateway.file)
        tls = await asyncio.to_thread(upstream_tls, gateway)
        found = self._clashing(gateway)
        if found:
            raise PolicyErrors([PolicyError(gateway.file, 0, str(clash)) for clash in found])
        router = await asyncio.to_thread(Router, gateway)

        def accept(policy: Policy) -> Callable[[], None]:
            domain = domain_of(gateway, policy)

            def commit() -> None:
                self._replace_upstreams(gateway, tls)
                self._warn_of_fixed(gateway)
                self._gateway = gateway
                self._server.options = gateway.limits
                self._server.trust((*self._trusted_peers, *gateway.trusted_proxies))
                self._proxy.queueing.lines.most = waiting_most(self._server.places.bounds.total)
                self._proxy.queueing.wake()
                self._proxy.snapshot = Snapshot(
                    gateway,
                    router,
                    dict(self.upstreams),
                    trust(gateway.trusted_proxies),
                    domain.name,
                    counted_headers(gateway),
                )

            return commit

        return accept

    async def close(self) -> None:
        """Close the idle connections to upstreams, and make no more."""
        await asyncio.gather(*(upstream.close() for upstream in self.upstreams.values()))

    def _replace_upstreams(self, gateway: Gateway, tls: Mapping[str, UpstreamTls]) -> None:
        """Keep unchanged upstreams with their connections and circuit breakers; retire the others."""
        made = {name: (compared(backend), tls[name].ca) for name, backend in gateway.upstreams.items()}
        for name in list(self.upstreams):
            if made.get(name) != self._made[name]:
                self.upstreams.pop(name).retire()
        for name, (endpoints, options, host, *_) in gateway.upstreams.items():
            if name not in self.upstreams:
                context = tls[name].context
                self.upstreams[name] = Upstream(name, endpoints, options, self._sweeper, tls=context, host=host)
        self._made = made

    def _warn_of_fixed(self, gateway: Gateway) -> None:
        for name in FIXED:
            if getattr(gateway, name) != getattr(self._gateway, name):
                log.warning("the gateway file changed a key that takes effect only after a restart", key=name)
