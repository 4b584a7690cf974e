"""The whole: node, admin, listener and clusters."""

from typing import Any, Final, NamedTuple, cast

from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.core.v3 import Node

from ratelimitd.gateway.model import Gateway

from .clusters import address, service, upstream
from .listener import listener
from .ratelimit import FILTER, Service

SERVICE: Final = "ratelimitd"
"""The cluster of the rate limit service, unless an upstream has the name."""


class Options(NamedTuple):
    """What a bootstrap has that is not in the gateway file.

    Attributes:
        rls: host and port of the rate limit service.
        admin: address and port of Envoy's own pages.
        timeout: seconds the service has for an answer; Envoy's 20 ms.
        deny: whether a request is refused while the service does not answer (``failure_mode_deny``).
    """

    rls: tuple[str, int]
    admin: tuple[str, int] = ("127.0.0.1", 9901)
    timeout: float = 0.02
    deny: bool = True


def bootstrap(gateway: Gateway, domain: bytes, options: Options) -> dict[str, Any]:
    """Make the bootstrap, as the values of Envoy's JSON. ``domain`` is the one of the policies that counts.

    Raises EnvoyError for what no bootstrap could hold.
    """
    asked = Service(_service_name(gateway), domain.decode(), options.timeout, options.deny, gateway.rate_limited_status)
    whole = Bootstrap(
        node=Node(id=gateway.name, cluster=gateway.name),
        admin=Admin(address=address(*options.admin)),
        static_resources=BootstrapStaticResources(
            listeners=[listener(gateway, asked)],
            clusters=[
                *(upstream(name, backend) for name, backend in gateway.upstreams.items()),
                service(asked.cluster, *options.rls),
            ],
        ),
    )
    built: dict[str, Any] = whole.to_dict(casing=cast("Casing", _as_it_is))
    managers = [chain["filters"][-1]["typed_config"] for chain in _chains(built)]
    for manager in managers:
        _send_retry_after(manager)
    for manager in managers[1:]:
        _share(managers[0], manager)
    return built


def _service_name(gateway: Gateway) -> str:
    name = SERVICE
    while name in gateway.upstreams:
        name += "_"
    return name


def _as_it_is(name: str) -> str:
    """Keep the names of fields: every casing of the library's makes consecutive_5_xx of consecutive_5xx."""
    return name


def _chains(built: dict[str, Any]) -> list[dict[str, Any]]:
    (made,) = built["static_resources"]["listeners"]
    return [*made.get("filter_chains", ()), made["default_filter_chain"]]


def _send_retry_after(manager: dict[str, Any]) -> None:
    """Have Envoy send Retry-After with a 429: the field is in Envoy 1.40, and not in the types of it."""
    for each in manager["http_filters"]:
        if each["name"].startswith(FILTER):
            each["typed_config"]["enable_retry_after_header"] = True


def _share(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Make what is equal in both the same value, which is written once."""
    for key, value in second.items():
        if value and isinstance(value, dict | list) and key in first:
            if first[key] == value:
                second[key] = first[key]
            elif isinstance(value, dict):
                _share(first[key], value)
