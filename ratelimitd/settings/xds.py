"""Rows of the table: the control plane that sends the policy, if it does not come from files."""

import math
import re
from typing import Final

from ratelimitd.config.values import boolean, duration, size, text
from ratelimitd.settings.rows import Row, Secret

XDS: Final = "GRPC_XDS_SOTW"
"""CONFIG_TYPE of a policy over xDS."""

_HEADER_NAME: Final = re.compile(r"[0-9a-z_.-]+", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[ -~]*", re.ASCII)

MESSAGE_MOST: Final = (1 << 31) - 1
"""Bytes: gRPC has this number in an int32."""

FACTOR_MOST: Final = 1_000
"""With it the second wait is the longest already."""


def _target(value: str) -> str:
    """Parse a target of gRPC; ``passthrough:`` is one of Go's alone, and means the plain address."""
    target = text(value).removeprefix("passthrough:///")
    if not target or target.startswith(("http://", "https://")):
        raise ValueError("not an address of gRPC; write host:port, such as envoy-gateway:18001")
    return target


def _node_metadata(value: str) -> tuple[tuple[str, str], ...]:
    """Parse ``k=v,k2=v2``; as in envoyproxy/ratelimit, an item without ``=`` is left out."""
    pairs = (item.partition("=") for item in text(value).split(","))
    return tuple((key, found) for key, equals, found in pairs if equals)


def _headers(value: str) -> tuple[tuple[str, str], ...]:
    """Parse ``name:value,name2:value2``; names are lower-cased."""
    found = []
    for number, item in enumerate(value.split(",") if value else (), 1):
        name, *parts = item.split(":")
        if len(parts) != 1:
            raise ValueError(f"item {number} is not name:value, with one colon; write x-team:edge,x-zone:a")
        name, content = name.strip().lower(), parts[0].strip()
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(content):
            raise ValueError(f"item {number} cannot be metadata of gRPC: write letters, digits, - and _ in its name")
        found.append((name, content))
    return tuple(found)


def _factor(value: str) -> float:
    """Parse a factor; beyond these bounds it has no meaning."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= FACTOR_MOST:
        raise ValueError(f"not a number from 0 to {FACTOR_MOST}; write 0.5, for example")
    return number


class XdsRows:
    """Rows of the control plane, for CONFIG_TYPE=GRPC_XDS_SOTW."""

    config_grpc_xds_node_id = Row(
        text, "default", "Node id, by which a control plane finds the policy; envoy-ratelimit for Envoy Gateway."
    )
    config_grpc_xds_node_metadata = Row(
        _node_metadata, "", "Metadata of the node, as k=v,k2=v2; an item without = is left out."
    )
    config_grpc_xds_server_url = Row(
        _target, "localhost:18000", "Address of the control plane; resolved again at each connection."
    )
    config_grpc_xds_server_connect_retry_interval = Row(
        duration,
        "3s",
        "Time between attempts to connect while no connection comes about, ±50 %. envoyproxy/ratelimit reads it "
        "without effect.",
    )
    config_grpc_xds_client_additional_headers = Row(
        _headers, "", "Metadata of the stream, as name:value,name2:value2.", secret=Secret.WHOLE
    )
    config_grpc_xds_server_use_tls = Row(boolean, "false", "Use TLS for the connection to the control plane.")
    config_grpc_xds_client_tls_cert = Row(
        text, "", "PEM file of the client certificate, if the control plane requires one; read at each connection."
    )
    config_grpc_xds_client_tls_key = Row(text, "", "PEM file of its private key.")
    config_grpc_xds_server_tls_cacert = Row(
        text, "", "PEM file of the CA of its certificate, in addition to the CAs that the system trusts."
    )
    config_grpc_xds_server_tls_san = Row(
        text, "", "Name that its certificate must have, and that is sent as SNI; unset: the host of the address."
    )
    xds_client_backoff_initial_interval = Row(
        duration, "10s", "Time until the service connects again after a connection was lost."
    )
    xds_client_backoff_max_interval = Row(duration, "60s", "Longest of these times.")
    xds_client_backoff_random_factor = Row(
        _factor,
        "0.5",
        "Factor from one of these times to the next, until a response is accepted; none is below the first. "
        "envoyproxy/ratelimit multiplies by it, whatever its name says, so its default keeps the time as it is.",
    )
    xds_client_backoff_jitter = Row(boolean, "true", "Wait between half of this time and all of it, at random.")
    xds_client_max_msg_size_in_bytes = Row(
        size(0, MESSAGE_MOST),
        "0",
        "Maximum size of a response; 0: gRPC's default of 4 MiB, 50,000 limits or more. A larger one ends the stream.",
    )
