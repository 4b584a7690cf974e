"""From a request to its descriptors, with Envoy's names and rules. A test compares the results with Envoy 1.40."""

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Final, NamedTuple

from ratelimitd.policy import LEASE, Descriptor, Entry, described

from .matching import HeaderMap, header_tester, query_tester
from .model import (
    Action,
    DestinationCluster,
    GenericKey,
    HeaderMatch,
    HeaderValueMatch,
    MaskedRemoteAddress,
    QueryParameters,
    QueryParameterValueMatch,
    RateLimit,
    RemoteAddress,
    RequestHeaders,
    SourceCluster,
)


class DescriptorInput(NamedTuple):
    """The parts of a request that descriptors are built from.

    Attributes:
        headers: those that routes and limits read, with the pseudo-headers (:method etc.).
        query: query of the target, as sent.
        address: client address, empty if there is none.
        upstream: name of the upstream of the route.
    """

    headers: HeaderMap
    query: bytes
    address: str
    upstream: str


Skip = tuple[()]
ActionResult = Entry | Skip | None
"""An entry; SKIP: no entry, but the descriptor is still sent; None: no descriptor."""

MakeEntry = Callable[[DescriptorInput], ActionResult]
BuildDescriptors = Callable[[DescriptorInput], tuple[Descriptor, ...]]

SKIP: Final[Skip] = ()

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def descriptor_builder(rate_limits: Sequence[RateLimit], name: str) -> BuildDescriptors:
    """Return a function that builds the descriptors of a route's requests. ``name`` is the name of the gateway.

    Raises PatternError, and KeyError for an action that only Envoy supports.
    """
    makers = [
        (
            tuple(_MAKERS[type(action)](action, name) for action in limit.actions),
            (limit.override, limit.hits, limit.negative),
            described if any(getattr(action, "key", b"") == LEASE for action in limit.actions) else Descriptor,
        )
        for limit in rate_limits
    ]

    def describe(request: DescriptorInput) -> tuple[Descriptor, ...]:
        found = []
        for actions, cost, make in makers:
            entries = _entries(actions, request)
            if entries is not None:
                found.append(make(entries, *cost))
        return tuple(found)

    return describe


def headers_read(action: Action) -> frozenset[bytes]:
    """Return the names of the headers that an action reads."""
    if isinstance(action, RequestHeaders):
        return frozenset((action.header,))
    if isinstance(action, HeaderValueMatch):
        return header_names(action.headers)
    return frozenset()


def header_names(matches: Sequence[HeaderMatch]) -> frozenset[bytes]:
    """Return the names of the headers in header matchers."""
    return frozenset(match.name for match in matches)


def parameters_read(action: Action) -> frozenset[bytes]:
    """Return the names of the query parameters that an action reads."""
    if isinstance(action, QueryParameters):
        return frozenset((action.parameter,))
    if isinstance(action, QueryParameterValueMatch):
        return frozenset(match.name for match in action.parameters)
    return frozenset()


def repeats_parameter(query: bytes, names: frozenset[bytes]) -> bool:
    """Return whether a query has a parameter in ``names`` more than once, also with escapes in its name."""
    found = [name for part in query.split(b"&") if (name := _decoded(part.partition(b"=")[0])) in names]
    return len(set(found)) < len(found)


def parameters_of(query: bytes) -> dict[bytes, bytes]:
    """Parse a query; the first of equal names is used. Percent-escapes are decoded; ``+`` and ``;`` are literal."""
    parameters: dict[bytes, bytes] = {}
    for part in query.split(b"&") if query else ():
        name, _, value = part.partition(b"=")
        parameters.setdefault(_decoded(name), _decoded(value))
    return parameters


def _decoded(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text) if b"%" in text else text


def _entries(actions: Sequence[MakeEntry], request: DescriptorInput) -> tuple[Entry, ...] | None:
    entries: list[Entry] = []
    for make in actions:
        result = make(request)
        if result is None:
            return None
        if result:
            entries.append(result)
    return tuple(entries)


def _generic_key(action: GenericKey, _name: str) -> MakeEntry:
    entry = (action.key, action.value)
    return lambda _: entry


def _request_headers(action: RequestHeaders, _name: str) -> MakeEntry:
    header, key, absent = action.header, action.key, SKIP if action.skip_if_absent else None

    def make(request: DescriptorInput) -> ActionResult:
        values = request.headers.get(header)
        return absent if values is None else (key, values[0])

    return make


def _query_parameters(action: QueryParameters, _name: str) -> MakeEntry:
    parameter, key, absent = action.parameter, action.key, SKIP if action.skip_if_absent else None

    def make(request: DescriptorInput) -> ActionResult:
        value = parameters_of(request.query).get(parameter)
        return absent if value is None else (key, value)

    return make


def _remote_address(_action: RemoteAddress, _name: str) -> MakeEntry:
    return lambda request: (b"remote_address", request.address.encode()) if request.address else None


def _masked_remote_address(action: MaskedRemoteAddress, _name: str) -> MakeEntry:
    def make(request: DescriptorInput) -> ActionResult:
        if not request.address:
            return None
        prefix = action.v6_prefix if ":" in request.address else action.v4_prefix
        network = ip_network(f"{request.address}/{prefix}", strict=False)
        return b"masked_remote_address", str(network).encode()

    return make


def _header_value_match(action: HeaderValueMatch, _name: str) -> MakeEntry:
    tests = tuple(map(header_tester, action.headers))
    entry, expect = (action.key, action.value), action.expect
    return lambda request: entry if all(test(request.headers) for test in tests) == expect else None


def _query_parameter_value_match(action: QueryParameterValueMatch, _name: str) -> MakeEntry:
    tests = tuple(map(query_tester, action.parameters))
    entry, expect = (action.key, action.value), action.expect

    def make(request: DescriptorInput) -> ActionResult:
        parameters = parameters_of(request.query)
        return entry if all(test(parameters) for test in tests) == expect else None

    return make


def _destination_cluster(_action: DestinationCluster, _name: str) -> MakeEntry:
    return lambda request: (b"destination_cluster", request.upstream.encode())


def _source_cluster(_action: SourceCluster, name: str) -> MakeEntry:
    entry = (b"source_cluster", name.encode())
    return lambda _: entry


_MAKERS: Final[Mapping[type, Callable[[Any, str], MakeEntry]]] = {
    GenericKey: _generic_key,
    RequestHeaders: _request_headers,
    QueryParameters: _query_parameters,
    RemoteAddress: _remote_address,
    MaskedRemoteAddress: _masked_remote_address,
    HeaderValueMatch: _header_value_match,
    QueryParameterValueMatch: _query_parameter_value_match,
    DestinationCluster: _destination_cluster,
    SourceCluster: _source_cluster,
}
