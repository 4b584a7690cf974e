"""Check of PEERS: whether its names have addresses, in the way in which a service looks them up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from ratelimitd.app.asking import SECONDS
from ratelimitd.app.peers import peer_port
from ratelimitd.http1 import Endpoint
from ratelimitd.net.connect import resolve
from ratelimitd.net.listen import THIS_HOST, address

from .finding import Finding, bad, ok, warn
from .target import PORTS, CheckTarget

CHANGE: Final = (
    "check PEERS; in Kubernetes it is the name of a headless Service that selects the pods (k8s/service.yaml)"
)


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Look up each name of PEERS; a replica that is away is no error, so none is asked."""
    settings = target.settings
    for peer in settings.peers:
        where = Endpoint(peer.host, peer.port or peer_port(settings))
        try:
            async with asyncio.timeout(SECONDS):
                found = await resolve(*where[:2])
        except TimeoutError:
            yield bad(PORTS, f"PEERS: {peer.host} was not resolved within {SECONDS:g} s", CHANGE)
        except (OSError, UnicodeError) as error:
            yield bad(PORTS, f"PEERS: {peer.host} cannot be resolved: {error}", CHANGE)
        else:
            count = len(found)
            yield ok(
                PORTS, f"PEERS: {peer.host} has {count} address{'' if count == 1 else 'es'}, asked at port {where.port}"
            )
    if settings.peers and settings.peer_addr is None:
        yield warn(
            PORTS,
            "PEERS is set and PEER_ADDR is not, so this replica asks others and answers none",
            "set PEER_ADDR=:6071, or unset PEERS",
        )
    if settings.peer_addr is not None and settings.peer_addr[0] not in THIS_HOST and not settings.grpc_server_use_tls:
        yield warn(
            PORTS,
            f"replicas send the admin token to {address(*settings.peer_addr)} in plain text",
            "set GRPC_SERVER_USE_TLS, or let only replicas reach the port, as k8s/networkpolicy.yaml does",
        )
