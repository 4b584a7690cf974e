"""Bounds and timeouts, in bytes and seconds, each with the source of its number."""

from typing import Literal, NamedTuple

from .balance import BalanceOptions
from .circuit_breaker import BreakerOptions

READ_BYTES = 16 * 1024
"""Read from a socket at once: one TLS record. Together with ``HIGH_WATER`` the bound of a connection's buffers."""
HIGH_WATER = 32 * 1024
"""Unsent bytes at which reading from the other side is paused; half of asyncio's, as a gateway has two sides."""

CONNECTION_BYTES = 4 * 1024
"""Memory of a connection besides what it has read and not yet written: 3.5 KiB were measured."""

TURN = 32
"""Steps of one connection before the loop serves others: a read of 16 KiB may hold 600 pipelined requests."""
DRAIN_BYTES = 64 * 1024
"""Rest of an unused body that is read so that the connection can persist; a longer rest ends it."""


class ServerOptions(NamedTuple):
    """Bounds and timeouts of clients.

    Attributes:
        max_head: bytes of a request head; nginx's 4 buffers of 8 KiB. More is 431.
        max_target: bytes of a request target; nginx's 8 KiB. More is 414.
        max_headers: header lines; Envoy's 100. More is 431.
        max_body: bytes of a request body; API Gateway's 10 MB, as MiB. More is 413.
        head_timeout: from the first byte of a head, or the connection's start, to its end; Envoy's advice for an edge.
            A TLS handshake has as long.
        body_timeout: without a byte of a body that is read; half of nginx's 60.
        min_body_rate: bytes a second of a body that is read: it has ``body_timeout``, and a second more for each such
            number that came; 0: no bound. Apache's 500 (mod_reqtimeout, body=20,MinRate=500).
        idle_timeout: between two requests; nginx's 75.
        send_timeout: without a byte of a response read by the client; nginx's 60.
        max_connections: one more is 503. Each costs two files, of which a process has 1,024 to 65,536.
        max_connections_per_address: one more is 503, unless the address is trusted; a browser opens 6, an office behind
            one address 100 such.
        methods: ``known`` to llhttp, as in nginx and Envoy, or ``any``; another one is 501.
    """

    max_head: int = 32 * 1024
    max_target: int = 8 * 1024
    max_headers: int = 100
    max_body: int = 10 << 20
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    min_body_rate: int = 500
    idle_timeout: float = 75.0
    send_timeout: float = 60.0
    max_connections: int = 10_000
    max_connections_per_address: int = 1_000
    methods: Literal["known", "any"] = "known"


class UpstreamOptions(NamedTuple):
    """Bounds and timeouts of an upstream.

    Attributes:
        max_connections: connections to each endpoint; nginx's worker has 512 for both sides.
        max_connections_per_client: connections to each endpoint that one client may hold; None: as many as are free
            (see ``shares``).
        max_waiting: requests that wait until their clients may hold a connection to an endpoint; one more is 503.
        wait_timeout: for a free connection, then 503; as long as connecting may take.
        connect_timeout: for name resolution, connection and TLS; Envoy's 5. Then 504.
        response_timeout: from the request's end to the response's head, and without the upstream taking the body that
            is there; nginx's 60, of either. Then 504.
        read_timeout: between two reads of a response's body; nginx's 60, but streams of events are often silent.
        tunnel_timeout: without a byte in either direction; Envoy's stream idle timeout.
        idle_timeout: of an idle connection; less than the 5 of Node and uvicorn, so that theirs is never first.
        lifetime: age at which a connection takes no further request; None: no bound.
        max_head: bytes of a response head; Envoy's 60 KiB. More is 502.
        breaker: conditions on which the circuit breaker opens; None: there is none.
        balance: conditions on which one of several endpoints is ejected; None: none is.
    """

    max_connections: int = 512
    max_connections_per_client: int | None = None
    max_waiting: int = 1024
    wait_timeout: float = 5.0
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    read_timeout: float = 300.0
    tunnel_timeout: float = 300.0
    idle_timeout: float = 4.0
    lifetime: float | None = None
    max_head: int = 60 * 1024
    breaker: BreakerOptions | None = BreakerOptions()
    balance: BalanceOptions | None = BalanceOptions()
