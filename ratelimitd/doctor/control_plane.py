"""Check of the control plane: connect to it as the service would, wait for a policy, and check that.

The policy is neither accepted nor rejected, so the control plane notes nothing but a connection.
"""

from collections.abc import AsyncIterator
from typing import Final

from ratelimitd.settings import Settings
from ratelimitd.sources import Pushed

from .finding import Finding, bad, ok, warn
from .policy import examined
from .target import CheckTarget

CONTROL_PLANE: Final = "control plane"

PATIENCE: Final = 5.0
"""Seconds for a policy to come; a control plane that has one sends it at once."""


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Ask the control plane, if the policy comes from one."""
    if not isinstance(target.source, Pushed):
        return
    from ratelimitd.app.control_plane import control_plane  # noqa: PLC0415 -- files need no gRPC client
    from ratelimitd.sources.xds import StreamError, first_response  # noqa: PLC0415 -- as above

    plane = control_plane(target.settings)
    try:
        response = await first_response(plane, PATIENCE)
    except StreamError as error:
        yield bad(CONTROL_PLANE, f"{plane.server}: {error}", _remedy(target.settings, connected=error.connected))
        return
    if response is None:
        yield warn(
            CONTROL_PLANE,
            f"{plane.server} is connected, and sent no policy within {PATIENCE:g} s",
            f"compare CONFIG_GRPC_XDS_NODE_ID ('{plane.node_id}') with what the control plane expects: it is silent "
            "about an id that it does not know, and before it has a policy",
        )
        return
    yield ok(CONTROL_PLANE, f"{plane.server} sends version '{response.version}' to node '{plane.node_id}'")
    async for finding in examined(Pushed(plane.server, response.version, response.body), target):
        yield finding


def _remedy(settings: Settings, *, connected: bool) -> str:
    if connected:
        return "look at the log of the control plane"
    if settings.config_grpc_xds_server_use_tls:
        return "check CONFIG_GRPC_XDS_SERVER_URL, and the certificates and names of CONFIG_GRPC_XDS_*_TLS_*"
    return "check CONFIG_GRPC_XDS_SERVER_URL; if it expects TLS, set CONFIG_GRPC_XDS_SERVER_USE_TLS"
