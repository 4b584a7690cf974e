"""What is examined."""

from typing import Final, NamedTuple

from ratelimitd.app.policies import source_of
from ratelimitd.gateway import Gateway
from ratelimitd.settings import Settings
from ratelimitd.sources import GatewayFile, Source

POLICY: Final = "policy"
PORTS: Final = "ports"
PROCESS: Final = "process"
SETTINGS: Final = "settings"


class Case(NamedTuple):
    """What a service would be started with.

    Attributes:
        config: paths, as ``serve`` takes them; none: the RUNTIME_* folder.
        gateway: the gateway file that ``config`` names; None: it names none, or one with errors.
        with_service: the gateway is to answer Envoy too.
    """

    settings: Settings
    config: tuple[str, ...]
    gateway: Gateway | None
    with_service: bool

    @property
    def source(self) -> Source:
        """Where the policy is."""
        return source_of(self.settings, self.config)

    @property
    def serves(self) -> bool:
        """Whether the ports of the service itself are to be bound."""
        return self.with_service or not isinstance(self.source, GatewayFile)
