"""A minimal client of the service: one call, and its response as text."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else grpcio writes a line to stderr for a handshake that fails

import grpc
from google.protobuf import json_format

from ratelimitd.config.values import UINT32_MAX, host_port
from ratelimitd.descriptor_text import Entries, show
from ratelimitd.net.spoken import Spoken, spoken
from ratelimitd.proto import POOL, message

METHOD: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
WITH_REASON: Final = "/ratelimitd.v1.RateLimitService/ShouldRateLimit"
"""The same method of ratelimitd, with the reason of a denial in the dynamic metadata."""

WITHOUT_REASON: Final = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)
"""Answers of another service to that method, and of a mesh that admits only Envoy's."""

# Has bytes fields where Envoy's message has strings: the wire format is the same, but a value need not be UTF-8.
_Request: Final = message("ratelimitd.wire.v1.RateLimitRequest")
_Response: Final = message("envoy.service.ratelimit.v3.RateLimitResponse")

# Otherwise grpc would connect to localhost through the proxy in the environment variable http_proxy.
_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)

UNREACHABLE: Final = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")
"""Prefixes of grpc's messages when it reached no service; a service may return UNAVAILABLE as well."""

OVER_LIMIT: Final = "OVER_LIMIT"
UNLIMITED: Final = UINT32_MAX
"""``limit_remaining`` of an unlimited descriptor."""


UNKNOWN_DOMAIN: Final = (
    "the service has no domain {domain!r}; it limits nothing of it. /rlconfig of its debug port (DEBUG_PORT, 6070 by "
    "default) lists what it has"
)

OTHER_PROTOCOL: Final = {
    (Spoken.HTTP1, False): "{address} speaks HTTP/1: gRPC is at GRPC_PORT, 8081 by default",
    (Spoken.HTTP1, True): "{address} speaks HTTP/1 without TLS: gRPC is at GRPC_PORT, 8081 by default",
    (Spoken.TLS, False): "{address} speaks TLS: add --tls, and --cacert if its certificate is of a CA of your own",
    (Spoken.H2, True): "{address} speaks gRPC without TLS: leave out --tls",
}
"""What to do if a port speaks another protocol than was asked with, by that and by whether TLS was used."""


class CheckError(Exception):
    """The service returned no decision; the message says why and, if known, what to do."""


class Tls(NamedTuple):
    """TLS of a call, as PEM.

    Attributes:
        ca: CA of the server's certificate; None: those that grpc trusts.
        server_name: name that the server's certificate must have; "": that of the address.
    """

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    server_name: str = ""


def check(
    address: str,
    domain: bytes,
    descriptors: Sequence[Entries],
    hits: int | None,
    timeout: float,
    tls: Tls | None = None,
) -> Any:
    """Call ShouldRateLimit once and return the RateLimitResponse.

    ``hits`` is the cost of each descriptor (0 peeks); None leaves it to the service, whose default is 1. ``timeout`` is
    in seconds. Raises CheckError.
    """
    request = _Request(domain=domain)
    for entries in descriptors:
        descriptor = request.descriptors.add()
        for key, value in entries:
            descriptor.entries.add(key=key, value=value)
        if hits is not None:
            descriptor.hits_addend.value = hits
    with _channel(address, tls) as channel:
        try:
            response = _called(channel, request, timeout)
        except grpc.RpcError as error:
            raise CheckError(_reason(error, address, timeout, tls=tls is not None)) from error
    if overall(response) == "UNKNOWN":
        raise CheckError(f"{address} returned no decision (overall_code UNKNOWN)")
    if "unknown_domain" in response.dynamic_metadata:
        raise CheckError(UNKNOWN_DOMAIN.format(domain=domain.decode(errors="backslashreplace")))
    return response


def _channel(address: str, tls: Tls | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
    name = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return grpc.secure_channel(address, credentials, options=[*_OPTIONS, *name])


def _called(channel: grpc.Channel, request: Any, timeout: float) -> Any:
    def call(method: str) -> Any:
        return channel.unary_unary(method, _Request.SerializeToString, _Response.FromString)(request, timeout=timeout)

    try:
        return call(WITH_REASON)
    except grpc.RpcError as error:
        if error.code() not in WITHOUT_REASON:
            raise
        return call(METHOD)


def reason(response: Any) -> str:
    """Return why the request was denied, or passed without its counter; "" if there is no reason, or none was sent."""
    metadata = response.dynamic_metadata
    return str(metadata["reason"]["text"]) if "reason" in metadata else ""


def overall(response: Any) -> str:
    """Return the name of the overall code."""
    return _code(response.overall_code)


def as_json(response: Any) -> str:
    """Return the response as protobuf JSON on one line."""
    return json_format.MessageToJson(response, descriptor_pool=POOL, indent=None)


def lines(response: Any, descriptors: Sequence[Entries]) -> Iterator[tuple[str, str]]:
    """Yield (code, sentence) for each descriptor."""
    verdicts, holds = _verdicts(response), _holds(response)
    for number, (entries, status) in enumerate(zip(descriptors, response.statuses, strict=False)):
        verdict = verdicts[number] if number < len(verdicts) else {}
        uncounted = verdict.get("reason") == "store_failure"
        held = holds[number] if number < len(holds) else None
        sentence = _without_counter(status) if uncounted else _sentence(status, verdict.get("never", ""), held)
        yield _code(status.code), f"{show(entries)}: {sentence}"


def _verdicts(response: Any) -> list[dict[str, Any]]:
    """Return what the service says of each descriptor besides its status; empty if it says nothing."""
    metadata = response.dynamic_metadata
    return [dict(each) for each in metadata["descriptors"]] if "reason" in metadata else []


def _holds(response: Any) -> list[float | None]:
    """Return what is held of the limits of each descriptor; empty if the service says nothing."""
    metadata = response.dynamic_metadata
    return list(metadata["held"]) if "held" in metadata else []


def _without_counter(status: Any) -> str:
    if _code(status.code) == OVER_LIMIT:
        return f"denied without its counter, try again in {status.duration_until_reset.seconds} s"
    return "allowed without its counter"


def _sentence(status: Any, never: str, held: float | None) -> str:
    if not status.HasField("current_limit"):
        return "unlimited" if status.limit_remaining == UNLIMITED else "no limit applies"
    limit = status.current_limit
    amount = f"{limit.requests_per_unit}{_window(limit)}"
    name = f" ({limit.name})" if limit.name else ""
    seconds = status.duration_until_reset.seconds
    holds = "" if held is None else f", {held:.0f} held"
    if _code(status.code) == OVER_LIMIT:
        return f"over {amount}{name}{holds}, " + (never or f"try again in {seconds} s")
    reset = f", reset in {seconds} s" if seconds or held is None else ""
    return f"{status.limit_remaining} left of {amount}{name}{holds}{reset}"


def _window(limit: Any) -> str:
    """Return the window in words. Without STATUS_UNIT_MULTIPLIER a service returns UNKNOWN for one of several units."""
    if not limit.unit:
        return ""
    unit, multiplier = limit.Unit.Name(limit.unit).lower(), limit.unit_multiplier.value or 1
    return f" per {unit}" if multiplier == 1 else f" per {multiplier} {unit}s"


def _code(number: int) -> str:
    return str(_Response.Code.Name(number))


def _reason(error: Any, address: str, timeout: float, *, tls: bool) -> str:
    code, details = error.code(), error.details() or ""
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        other = OTHER_PROTOCOL.get((_spoken(address), tls))
        if other is not None:
            return other.format(address=address)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{address} did not respond within {timeout:g} s"
    if code is grpc.StatusCode.UNAVAILABLE and tls and "handshake failed" in details.lower():
        return f"the TLS handshake with {address} failed: {details}. Check --cacert, --cert, --key and --server-name"
    if code is grpc.StatusCode.UNAVAILABLE and details.startswith(UNREACHABLE):
        return (
            f"cannot connect to {address} ({details.rpartition(': ')[2].rstrip('])')}). Start the service with: "
            "ratelimitd serve --config PATH, or give its address with --address HOST:PORT"
        )
    return f"{address} returned {code.name}: {details}"


def _spoken(address: str) -> Spoken:
    """Return what a port speaks; unknown for an address that is not host:port, such as a unix socket."""
    try:
        return spoken(*host_port(address))
    except ValueError:
        return Spoken.UNKNOWN
