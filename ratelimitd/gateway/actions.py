"""From a request to its descriptors, by Envoy's names and rules; a test holds them against Envoy 1.40."""

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Final, NamedTuple

from ratelimitd.policy import Descriptor, Entry

from .matching import Folded, header_tester, query_tester
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


class Seen(NamedTuple):
    """What of a request makes its descriptors.

    Attributes:
        headers: as ``matching.fold`` makes them, with :path and the like where somebody asks for them.
        query: of the target, as it was sent.
        address: of the client; empty: it has none.
        upstream: name of the one that is to be asked.
    """

    headers: Folded
    query: bytes
    address: str
    upstream: str


Skip = tuple[()]
Made = Entry | Skip | None
"""An entry; nothing, but the descriptor goes on; None: there is no descriptor."""

Maker = Callable[[Seen], Made]
Describe = Callable[[Seen], tuple[Descriptor, ...]]

SKIP: Final[Skip] = ()

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def describer(rate_limits: Sequence[RateLimit], name: str) -> Describe:
    """Return what makes the descriptors of a route's requests; ``name`` is the gateway's own.

    Raises PatternError, and KeyError for an action that only Envoy can do.
    """
    makers = [
        (
            tuple(_MAKERS[type(action)](action, name) for action in limit.actions),
            (limit.override, limit.hits, limit.negative),
        )
        for limit in rate_limits
    ]

    def describe(seen: Seen) -> tuple[Descriptor, ...]:
        found = []
        for actions, cost in makers:
            entries = _entries(actions, seen)
            if entries is not None:
                found.append(Descriptor(entries, *cost))
        return tuple(found)

    return describe


def headers_wanted(action: Action) -> frozenset[bytes]:
    """Return the headers an action looks at."""
    if isinstance(action, RequestHeaders):
        return frozenset((action.header,))
    if isinstance(action, HeaderValueMatch):
        return names_of(action.headers)
    return frozenset()


def names_of(matches: Sequence[HeaderMatch]) -> frozenset[bytes]:
    """Return the headers that are matched."""
    return frozenset(match.name for match in matches)


def parameters_of(query: bytes) -> dict[bytes, bytes]:
    """Read a query, the first of equal names; percent escapes are decoded, ``+`` is a plus and ``;`` parts nothing."""
    parameters: dict[bytes, bytes] = {}
    for part in query.split(b"&") if query else ():
        name, _, value = part.partition(b"=")
        parameters.setdefault(_decoded(name), _decoded(value))
    return parameters


def _decoded(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text) if b"%" in text else text


def _entries(actions: Sequence[Maker], seen: Seen) -> tuple[Entry, ...] | None:
    entries: list[Entry] = []
    for make in actions:
        made = make(seen)
        if made is None:
            return None
        if made:
            entries.append(made)
    return tuple(entries)


def _generic_key(action: GenericKey, _name: str) -> Maker:
    entry = (action.key, action.value)
    return lambda _: entry


def _request_headers(action: RequestHeaders, _name: str) -> Maker:
    header, key, absent = action.header, action.key, SKIP if action.skip_if_absent else None

    def make(seen: Seen) -> Made:
        values = seen.headers.get(header)
        return absent if values is None else (key, values[0])

    return make


def _query_parameters(action: QueryParameters, _name: str) -> Maker:
    parameter, key, absent = action.parameter, action.key, SKIP if action.skip_if_absent else None

    def make(seen: Seen) -> Made:
        value = parameters_of(seen.query).get(parameter)
        return absent if value is None else (key, value)

    return make


def _remote_address(_action: RemoteAddress, _name: str) -> Maker:
    return lambda seen: (b"remote_address", seen.address.encode()) if seen.address else None


def _masked_remote_address(action: MaskedRemoteAddress, _name: str) -> Maker:
    def make(seen: Seen) -> Made:
        if not seen.address:
            return None
        prefix = action.v6_prefix if ":" in seen.address else action.v4_prefix
        network = ip_network(f"{seen.address}/{prefix}", strict=False)
        return b"masked_remote_address", str(network).encode()

    return make


def _header_value_match(action: HeaderValueMatch, _name: str) -> Maker:
    tests = tuple(map(header_tester, action.headers))
    entry, expect = (action.key, action.value), action.expect
    return lambda seen: entry if all(test(seen.headers) for test in tests) == expect else None


def _query_parameter_value_match(action: QueryParameterValueMatch, _name: str) -> Maker:
    tests = tuple(map(query_tester, action.parameters))
    entry, expect = (action.key, action.value), action.expect

    def make(seen: Seen) -> Made:
        parameters = parameters_of(seen.query)
        return entry if all(test(parameters) for test in tests) == expect else None

    return make


def _destination_cluster(_action: DestinationCluster, _name: str) -> Maker:
    return lambda seen: (b"destination_cluster", seen.upstream.encode())


def _source_cluster(_action: SourceCluster, name: str) -> Maker:
    entry = (b"source_cluster", name.encode())
    return lambda _: entry


_MAKERS: Final[Mapping[type, Callable[[Any, str], Maker]]] = {
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
