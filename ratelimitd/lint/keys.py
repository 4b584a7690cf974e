"""Keys and values of descriptors that Envoy's own actions never send."""

from ipaddress import ip_address
from typing import Final

from ratelimitd.policy import STAR, Identity, network_of

from .rules import Findings, finding, shown
from .tree import DomainTree

ADDRESS: Final = "remote_address"

SENT_BY_ENVOY: Final = (
    ADDRESS,
    "masked_remote_address",
    "remote_address_match",
    "generic_key",
    "header_match",
    "query_match",
    "destination_cluster",
    "source_cluster",
)
"""Keys that actions send unless ``descriptor_key`` says otherwise."""


def misspelled_keys(tree: DomainTree) -> Findings:
    """Find keys that are one letter away from one of Envoy's; of use where the routes are unknown."""
    similar: dict[bytes, str] = {}
    for node, _, place in tree.branches:
        if node.key not in similar:
            similar[node.key] = next((key for key in SENT_BY_ENVOY if _one_letter(shown(node.key), key)), "")
        if similar[node.key]:
            yield finding("misspelled-key", place, key=shown(node.key), other=similar[node.key])


def impossible_addresses(tree: DomainTree) -> Findings:
    """Find values of ``remote_address`` that no client's address is equal to, as text."""
    for node, _, place in tree.branches:
        if node.key == ADDRESS.encode() and node.value and STAR not in node.value:
            remedy = _remedy(shown(node.value), tree.identity)
            if remedy:
                yield finding("not-an-address", place, value=shown(node.value), remedy=remedy)


def _remedy(value: str, identity: Identity | None) -> str:
    """Return what to write instead of a value; empty for an address as it is sent."""
    networks = identity is not None and identity.otherwise == ADDRESS.encode()
    bare, slash, _ = value.partition("/")
    try:
        address = str(ip_address(bare))
    except ValueError:
        return "write an IPv4 or IPv6 address"
    if identity is not None and networks:
        address = shown(network_of(address.encode(), identity.ipv6_prefix))
        return "" if value == address else f"write '{address}', as 'identity' has it"
    if slash:
        return "write the key masked_remote_address, and send it from a route, or one descriptor for each address"
    return "" if value == address else f"write '{address}'"


def _one_letter(one: str, other: str) -> bool:
    """Whether one letter is missing, added or different, or two next to each other are exchanged."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), None)
    if start is None:
        return True
    rest, rest_other = one[start:], other[start:]
    exchanged = rest[:2] == rest_other[1::-1] and rest[2:] == rest_other[2:]
    return exchanged or rest[1:] == rest_other or rest == rest_other[1:] or rest[1:] == rest_other[1:]
