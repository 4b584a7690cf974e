"""The state that a gateway file results in."""

from collections.abc import Mapping

from ratelimitd.http1 import Upstream

from .client_address import IsTrusted
from .model import Gateway
from .routing import Router
from .ways import Ways


class Snapshot:
    """The state that results from one gateway file. A reload replaces it; a request keeps the one it began with.

    Attributes:
        domain: domain of the limits.
        keys: headers that a request must not repeat (``routing.counted_headers``).
        ways: what equal requests share.
    """

    __slots__ = ("domain", "gateway", "is_trusted", "keys", "router", "upstreams", "ways")

    def __init__(
        self,
        gateway: Gateway,
        router: Router,
        upstreams: Mapping[str, Upstream],
        is_trusted: IsTrusted,
        domain: bytes,
        keys: frozenset[bytes],
    ) -> None:
        self.gateway = gateway
        self.router = router
        self.upstreams = upstreams
        self.is_trusted = is_trusted
        self.domain = domain
        self.keys = keys
        self.ways = Ways(router)
