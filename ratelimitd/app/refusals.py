"""Refused gRPC clients: counted by reason, and one warning a minute for each reason.

Envoy lets requests pass while it cannot reach the service, so a refused Envoy would otherwise limit nothing unseen.
"""

import time
from collections.abc import Callable
from math import inf
from typing import Final

from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.metrics import Family, by_label
from ratelimitd.transport import Refusal

log = get_logger(__name__)

REPEAT: Final = 60.0
"""Seconds between two warnings of a reason: an Envoy with a wrong certificate connects again all the time."""

REMEDY: Final = {
    Refusal.CERTIFICATE_NAME: "set GRPC_CLIENT_TLS_SAN to a name of its certificate, now {san}, or issue one with it",
    Refusal.CONNECTIONS: "run more instances, or let fewer clients connect to each",
    Refusal.HANDSHAKE: (
        "use TLS on both sides, with a client certificate of GRPC_CLIENT_TLS_CACERT and a server certificate that the "
        "client trusts"
    ),
    Refusal.NO_H2: "offer h2 by ALPN, as every gRPC client and an Envoy cluster with http2_protocol_options does",
}


class Refusals:
    """Counts refusals and warns of them; a transport calls it. ``client_san`` is GRPC_CLIENT_TLS_SAN."""

    def __init__(self, client_san: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts = dict.fromkeys(Refusal, 0)
        self._san = client_san
        self._clock = clock
        self._warned = dict.fromkeys(Refusal, (-inf, 0))

    def __call__(self, reason: Refusal, peer: str, detail: str) -> None:
        """Count one refusal, and warn if the last warning of its reason is old enough."""
        self.counts[reason] += 1
        now, (last, counted) = self._clock(), self._warned[reason]
        if now - last < REPEAT:
            return
        self._warned[reason] = now, self.counts[reason]
        log.warning(
            "a gRPC client was refused",
            reason=str(reason),
            peer=peer or "unknown",
            found=detail,
            change=REMEDY[reason].format(san=self._san),
            since_last_warning=self.counts[reason] - counted,
        )

    def family(self) -> Family:
        """Return the metric."""
        return by_label(
            "ratelimitd_grpc_refused_total", "counter",
            "gRPC connections refused by reason; with grpcio the calls of a refused connection.", "reason",
            lambda: [(str(reason), count) for reason, count in self.counts.items()],
        )  # fmt: skip
