"""Default ports of the service beside a proxy: its own default is 8080 too, and that of its upstream is gRPC's 8081."""

from typing import Final

from ratelimitd.gateway import Gateway
from ratelimitd.net.listen import THIS_HOST
from ratelimitd.settings import Settings, changed

STEP: Final = 10
"""From a default port that is in use to the next one: 8090 and 8091, the ports of `make run`."""

MOVABLE: Final = (Settings.port, Settings.grpc_port, Settings.debug_port)


def beside_proxy(settings: Settings, gateway: Gateway) -> Settings:
    """Return the settings with other defaults for ports that the proxy or an upstream on this host uses.

    A port that is set stays, so that two equal ones are reported, not silently moved.
    """
    in_use = {(settings.listen_addr or gateway.listen)[1], gateway.admin.port}
    for backend in gateway.upstreams.values():
        in_use.update(endpoint.port for endpoint in backend.endpoints if endpoint.host in THIS_HOST)
    moved = {}
    for row in MOVABLE:
        port = getattr(settings, row.name.lower())
        if row.name not in settings.given and port in in_use:
            while port in in_use:
                port += STEP
            moved[row.name.lower()] = port
        in_use.add(port)
    return changed(settings, **moved)
