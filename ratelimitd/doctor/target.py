"""The subject of a check, and the names of the areas."""

from typing import Final, NamedTuple

from ratelimitd.app.policies import source_of
from ratelimitd.gateway import Gateway
from ratelimitd.settings import Settings
from ratelimitd.sources import GatewayFile, Pushed, Source

POLICY: Final = "policy"
PORTS: Final = "ports"
PROCESS: Final = "process"
SETTINGS: Final = "settings"


class CheckTarget(NamedTuple):
    """The configuration that a service would start with.

    Attributes:
        config: paths, as passed to ``serve``; empty: the RUNTIME_* directory.
        gateway: the gateway file in ``config``; None if there is none, or if it has errors.
        with_service: whether the gateway also serves Envoy.
    """

    settings: Settings
    config: tuple[str, ...]
    gateway: Gateway | None
    with_service: bool

    @property
    def source(self) -> Source | Pushed:
        """Source of the policy."""
        return source_of(self.settings, self.config)

    @property
    def serves(self) -> bool:
        """Whether the ports of the rate-limit service are bound too."""
        return self.with_service or not isinstance(self.source, GatewayFile)
