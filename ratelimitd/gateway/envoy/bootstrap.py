"""The bootstrap: node, admin, listener and clusters."""

from typing import Any, Final, NamedTuple, cast

from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.google.protobuf import Struct

from ratelimitd.gateway.model import Gateway

from .clusters import address, service, upstream
from .listener import listener
from .ratelimit import FILTER, FilterOptions

SERVICE: Final = "ratelimitd"
"""Name of the cluster of the rate limit service; underscores are appended if an upstream has this name."""

_RUNTIME: Final = {"re2.max_program_size.error_level": 100_000}
"""The largest expression, which is 100 by default: less than a list of hosts, or an expression that the proxy takes."""


class EnvoyOptions(NamedTuple):
    """Parts of a bootstrap that are not in the gateway file.

    Attributes:
        rls: host and port of the rate limit service.
        admin: address and port of Envoy's admin interface.
        timeout: timeout of a call to the service, in seconds; 20 ms is Envoy's default.
        deny: whether requests are denied while the service does not respond (``failure_mode_deny``).
    """

    rls: tuple[str, int]
    admin: tuple[str, int] = ("127.0.0.1", 9901)
    timeout: float = 0.02
    deny: bool = True


def bootstrap(gateway: Gateway, domain: bytes, options: EnvoyOptions) -> dict[str, Any]:
    """Build the bootstrap in Envoy's JSON form. ``domain`` is the domain of the policies that the gateway uses.

    Raises EnvoyError for a gateway file that cannot be expressed as a bootstrap.
    """
    filter_options = FilterOptions(
        _service_name(gateway), domain.decode(), options.timeout, options.deny, gateway.rate_limited_status
    )
    message = Bootstrap(
        node=Node(id=gateway.name, cluster=gateway.name),
        admin=Admin(address=address(*options.admin)),
        layered_runtime=LayeredRuntime(layers=[RuntimeLayer(name="static", static_layer=Struct.from_dict(_RUNTIME))]),
        static_resources=BootstrapStaticResources(
            listeners=[listener(gateway, filter_options)],
            clusters=[
                *(upstream(name, backend) for name, backend in gateway.upstreams.items()),
                service(filter_options.cluster, *options.rls),
            ],
        ),
    )
    built: dict[str, Any] = message.to_dict(casing=cast("Casing", _keep_case))
    managers = [chain["filters"][-1]["typed_config"] for chain in _chains(built)]
    for manager in managers:
        _enable_retry_after(manager)
    for manager in managers[1:]:
        _share(managers[0], manager)
    return built


def _service_name(gateway: Gateway) -> str:
    name = SERVICE
    while name in gateway.upstreams:
        name += "_"
    return name


def _keep_case(name: str) -> str:
    """Return the field name unchanged: all casings of the library turn consecutive_5xx into consecutive_5_xx."""
    return name


def _chains(built: dict[str, Any]) -> list[dict[str, Any]]:
    (made,) = built["static_resources"]["listeners"]
    return [*made.get("filter_chains", ()), made["default_filter_chain"]]


def _enable_retry_after(manager: dict[str, Any]) -> None:
    """Let Envoy send Retry-After with a 429. Envoy 1.40 has the field; the types of envoy-data-plane do not."""
    for each in manager["http_filters"]:
        if each["name"].startswith(FILTER):
            each["typed_config"]["enable_retry_after_header"] = True


def _share(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Make equal values in both the same object, so that YAML writes them once and refers to them by alias."""
    for key, value in second.items():
        if value and isinstance(value, dict | list) and key in first:
            if first[key] == value:
                second[key] = first[key]
            elif isinstance(value, dict):
                _share(first[key], value)
