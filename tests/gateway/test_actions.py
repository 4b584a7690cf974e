"""Descriptors of a request. That they are Envoy's is held in test_like_envoy."""

import pytest

from ratelimitd.gateway.routing import Router
from ratelimitd.policy import Descriptor, Unit

from .files import ask, described, gateway, limits

HEADER = {"request_headers": {"header_name": "X-A", "descriptor_key": "a"}}
SKIPPED = {"request_headers": {"header_name": "X-A", "descriptor_key": "a", "skip_if_absent": True}}
KEY = {"generic_key": {"descriptor_value": "v"}}


def test_an_action_that_cannot_append_drops_its_descriptor_alone():
    """The others go on; with skip_if_absent only the entry is left out, even when it is the only one."""
    found = described([limits(HEADER, KEY), limits(SKIPPED, KEY), limits(SKIPPED), limits("remote_address")])
    assert [each.entries for each in found] == [
        ((b"generic_key", b"v"),),
        (),
        ((b"remote_address", b"192.0.2.1"),),
    ]


@pytest.mark.parametrize(
    ("address", "entry"),
    [("192.0.2.77", b"192.0.2.0/24"), ("2001:db8:1:2::3", b"2001:db8:1::/48"), ("", None)],
)
def test_an_address_may_be_masked(address, entry):
    """By its own prefix for each family; without an address there is no descriptor."""
    masked = {"masked_remote_address": {"v4_prefix_mask_len": 24, "v6_prefix_mask_len": 48}}
    found = described([limits(masked)], address=address)
    assert found == (() if entry is None else (Descriptor(((b"masked_remote_address", entry),)),))


def test_no_address_is_no_descriptor():
    """As on a unix socket."""
    assert described([limits("remote_address")], address="") == ()


def test_clusters_are_the_upstream_and_the_gateway():
    """destination_cluster is the route's upstream, source_cluster the gateway's name."""
    router = Router(gateway({"rate_limits": [limits("destination_cluster", "source_cluster")]}, name="edge"))
    (found,) = ask(router)[1]
    assert found.entries == ((b"destination_cluster", b"app"), (b"source_cluster", b"edge"))


def test_a_descriptor_has_its_hits_and_its_limit():
    """hits_addend, also negative or 0, and limit.rate_limit; else neither."""
    override = {"rate_limit": {"requests_per_unit": 5, "unit": "hour"}}
    refund = {"number": 3, "is_negative_hits": True}
    found = described(
        [
            limits(KEY),
            limits(KEY, hits_addend={"number": 0}),
            limits(KEY, hits_addend=refund, limit=override),
        ]
    )
    assert [each[1:] for each in found] == [(None, None, False), (None, 0, False), ((5, Unit.HOUR), 3, True)]


def test_a_route_without_rate_limits_has_no_descriptors():
    """So nothing is asked."""
    assert described([]) == ()
