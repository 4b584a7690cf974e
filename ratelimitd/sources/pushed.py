"""A policy that a control plane sent."""

from typing import Final, NamedTuple

TYPE: Final = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"
"""Type of the resources."""


class Pushed(NamedTuple):
    """A response of xDS as a source: all its resources are one policy.

    Attributes:
        server: address of the control plane.
        version: ``version_info``; a control plane may count from 1 again after a restart.
        body: the DiscoveryResponse as received; None: nothing was sent yet.
    """

    server: str
    version: str = ""
    body: bytes | None = None
