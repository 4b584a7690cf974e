"""A service whose policy comes from a control plane: the wiring of the client, and what is told of it."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from typing import NamedTuple

from ratelimitd.observe.logs import hide
from ratelimitd.observe.metrics import Family, single
from ratelimitd.policy import PolicyErrors
from ratelimitd.printable import printable
from ratelimitd.settings import Settings
from ratelimitd.sources import LoadError, Pushed, Watch
from ratelimitd.sources.xds import (
    MESSAGE_BYTES,
    AdsClient,
    Backoff,
    ControlPlane,
    PlaneState,
    Refusal,
    Response,
    TlsFiles,
    nack_text,
)

from .life import CONNECT_FIRST, run_task
from .service import RunningService

ERROR_SHOWN = 200
"""Characters of a NACK's text in a label: enough to know the error; /readyz and the log have all of it."""


class Plane(NamedTuple):
    """A control plane, and what is known of it."""

    server: str
    state: PlaneState

    def in_words(self) -> str:
        """Return its state in one line."""
        state = self.state
        link = "connected" if state.connected else "not connected"
        since = f" since {_moment(state.since)}" if state.since else ""
        why = f": {state.reason}" if state.reason and not state.connected else ""
        acked, nacked = state.acked, state.nacked
        parts = [
            self.server,
            "nothing accepted yet" if acked is None else f"version '{acked.version}' accepted {_moment(acked.at)}",
        ]
        if nacked is not None:
            parts.append(f"version '{nacked.version}' rejected {_moment(nacked.at)}: {nacked.text}")
        return printable(", ".join([*parts, f"{link}{since}{why}"]))  # much of it is the control plane's own text

    def as_json(self) -> dict[str, object]:
        """Return its state for the admin API; times are RFC 3339."""
        state = self.state
        told = {"ack": state.acked, "nack": state.nacked}
        return {
            "server": self.server,
            "connected": state.connected,
            "since": _moment(state.since) if state.since else None,
            "reason": state.reason,
            **{name: each and {**each._asdict(), "at": _moment(each.at)} for name, each in told.items()},
        }

    def families(self) -> list[Family]:
        """Return its metrics."""
        state = self.state
        return [
            single(
                "ratelimitd_xds_connected", "gauge", "1 while the control plane is connected.",
                lambda: int(state.connected),
            ),
            single(
                "ratelimitd_xds_connects_total", "counter", "Connections to the control plane.",
                lambda: state.connects,
            ),
            single("ratelimitd_xds_acks_total", "counter", "Responses accepted.", lambda: state.acks),
            single(
                "ratelimitd_xds_nacks_total", "counter", "Responses rejected; one that is sent again counts once.",
                lambda: state.nacks,
            ),
            single(
                "ratelimitd_xds_last_ack_timestamp_seconds", "gauge", "Time of the last ACK; 0: none yet.",
                lambda: state.acked.at if state.acked else 0,
            ),
            single(
                "ratelimitd_xds_last_nack_timestamp_seconds", "gauge", "Time of the last rejection; 0: none yet.",
                lambda: state.nacked_at,
            ),
            Family(
                "ratelimitd_xds_nacked", "gauge", "1 while the last response is rejected: its version, and its error.",
                ("version", "error"), lambda: _nacked(state),
            ),
        ]  # fmt: skip


def _nacked(state: PlaneState) -> list[tuple[tuple[str, ...], int]]:
    return [((state.nacked.version, state.nacked.text[:ERROR_SHOWN]), 1)] if state.nacked else []


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def control_plane(settings: Settings) -> ControlPlane:
    """Return the control plane of the settings, and mask the headers that it is sent in logs."""
    for _, value in settings.config_grpc_xds_client_additional_headers:
        hide(value)
    tls = TlsFiles(
        settings.config_grpc_xds_server_tls_cacert,
        settings.config_grpc_xds_client_tls_cert,
        settings.config_grpc_xds_client_tls_key,
        settings.config_grpc_xds_server_tls_san,
    )
    return ControlPlane(
        settings.config_grpc_xds_server_url,
        settings.config_grpc_xds_node_id,
        settings.config_grpc_xds_node_metadata,
        settings.config_grpc_xds_client_additional_headers,
        tls if settings.config_grpc_xds_server_use_tls else None,
        Backoff(
            settings.config_grpc_xds_server_connect_retry_interval,
            settings.xds_client_backoff_initial_interval,
            settings.xds_client_backoff_max_interval,
            settings.xds_client_backoff_random_factor,
            settings.xds_client_backoff_jitter,
        ),
        settings.xds_client_max_msg_size_in_bytes or MESSAGE_BYTES,
    )


def plane_of(source: Pushed) -> Plane:
    """Return the control plane of a source, of which nothing is known yet."""
    return Plane(source.server, PlaneState())


def client_of(service: RunningService) -> AdsClient:
    """Return a client that brings what the control plane of this service sends into force."""
    plane = service.plane
    if plane is None:
        raise ValueError("the policy comes from files")

    async def apply(response: Response) -> Refusal | None:
        errors = await service.take(Pushed(plane.server, response.version, response.body))
        return None if errors is None else refusal(errors)

    return AdsClient(control_plane(service.settings), plane.state, apply, service.policies.renamed)


def refusal(errors: PolicyErrors) -> Refusal:
    """Return the refusal of a policy with these errors."""
    return Refusal(nack_text(errors.errors), lasting=not isinstance(errors, LoadError))


async def follow(client: AdsClient, stack: AsyncExitStack, overlay: Watch | None) -> None:
    """Run the client until the stack unwinds, and wait briefly so that the first call finds a policy."""

    def wake() -> None:
        client.wake()
        if overlay is not None:
            overlay.wake()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, wake)
    run_task(stack, client.run())
    settled = asyncio.ensure_future(client.settled.wait())
    await asyncio.wait((settled,), timeout=CONNECT_FIRST)
    settled.cancel()
