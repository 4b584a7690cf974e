"""Refused clients: counted by reason, and one warning a minute for each reason.

Envoy lets requests pass while it cannot reach the service, so a refused Envoy would otherwise limit nothing unseen.
"""

import time
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from typing import Final, Generic, TypeVar

from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.metrics import Family, by_label
from ratelimitd.transport import Refusal

log = get_logger(__name__)

K = TypeVar("K", bound=Hashable)

REPEAT: Final = 60.0
"""Seconds between two warnings of a reason: an Envoy with a wrong certificate connects again all the time."""

REMEDY: Final = {
    Refusal.ADDRESS: (
        "look for the client that opens so many connections; if the address is that of a load balancer, add it to "
        "TRUSTED_PEERS"
    ),
    Refusal.CERTIFICATE_NAME: "set GRPC_CLIENT_TLS_SAN to a name of its certificate, now {san}, or issue one with it",
    Refusal.CONNECTIONS: "run more instances, or let fewer clients connect to each",
    Refusal.FILES: "raise the limit of open files: LimitNOFILE of systemd, or `ulimit -Hn`",
    Refusal.HANDSHAKE: (
        "use TLS on both sides, with a client certificate of GRPC_CLIENT_TLS_CACERT and a server certificate that the "
        "client trusts"
    ),
    Refusal.HANDSHAKES: "look for clients that connect and send nothing",
    Refusal.NO_H2: "offer h2 by ALPN, as every gRPC client and an Envoy cluster with http2_protocol_options does",
}


class Repeated(Generic[K]):
    """Events of which one warning a minute is due for each key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counts: Counter[K] = Counter()
        self._clock = clock
        self._warned: dict[K, tuple[float, int]] = {}

    def due(self, key: K) -> int:
        """Count an event. Returns how many came since the last warning if one is due, else 0."""
        self.counts[key] += 1
        now, counted = self._clock(), self.counts[key]
        last, before = self._warned.get(key, (now - REPEAT, 0))
        if now - last < REPEAT:
            return 0
        self._warned[key] = now, counted
        return counted - before


class Refusals:
    """Counts refusals of gRPC clients and warns of them. ``client_san`` is GRPC_CLIENT_TLS_SAN."""

    def __init__(self, client_san: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._repeated: Repeated[Refusal] = Repeated(clock)
        self._san = client_san

    def __call__(self, reason: Refusal, peer: str, detail: str) -> None:
        """Count one refusal, as a transport tells it, and warn if the last warning of its reason is old enough."""
        since = self._repeated.due(reason)
        if since:
            log.warning(
                "a gRPC client was refused",
                reason=str(reason),
                peer=peer or "unknown",
                found=detail,
                change=REMEDY[reason].format(san=self._san),
                since_last_warning=since,
            )

    def family(self) -> Family:
        """Return the metric."""
        return by_label(
            "ratelimitd_grpc_refused_total", "counter",
            "gRPC connections refused by reason; with grpcio the calls of a refused connection.", "reason",
            lambda: [(str(reason), self._repeated.counts[reason]) for reason in Refusal],
        )  # fmt: skip


class HttpRefusals:
    """Counts HTTP clients that got no place on a port and warns of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._repeated: Repeated[tuple[str, str]] = Repeated(clock)

    def of(self, port: str) -> Callable[[str, str], None]:
        """Return the function that a port calls with the reason and the address of the client."""
        return partial(self._refused, port)

    def _refused(self, port: str, reason: str, peer: str) -> None:
        since = self._repeated.due((port, reason))
        if since:
            change = REMEDY[Refusal(reason)]
            log.warning(
                "an HTTP client was refused",
                port=port,
                reason=reason,
                peer=peer or "unknown",
                change=change,
                since_last_warning=since,
            )

    def family(self) -> Family:
        """Return the metric."""
        return Family(
            "ratelimitd_http_refused_total", "counter", "HTTP connections refused by port and reason.",
            ("port", "reason"), lambda: list(self._repeated.counts.items()),
        )  # fmt: skip
