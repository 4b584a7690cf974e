"""Descriptors of a request. That they are Envoy's is held in test_like_envoy."""

import pytest

from ratelimitd.gateway.routing import Router
from ratelimitd.policy import Descriptor, Override, Unit

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
    ("action", "key", "value"),
    [
        ({"generic_key": {"descriptor_value": "v"}}, b"generic_key", b"v"),
        ({"generic_key": {"descriptor_key": "g", "descriptor_value": "v"}}, b"g", b"v"),
        ({"request_headers": {"header_name": "X-A", "descriptor_key": "h"}}, b"h", b"of the header"),
        ({"query_parameters": {"query_parameter_name": "p", "descriptor_key": "q"}}, b"q", b"of the query"),
        ({"remote_address": {}}, b"remote_address", b"192.0.2.1"),
    ],
)
def test_an_action_makes_its_entry(action, key, value):
    """The key that the file says, and the value of the file or of the request."""
    request = {"headers": [("x-a", "of the header")], "query": "o=1&p=of%20the%20query"}
    assert [((key, value),)] == [each.entries for each in described([limits(action)], **request)]


def test_an_entry_with_a_lease_is_removed():
    """As the service removes it, so a route has the same limits in both."""
    lease = {"generic_key": {"descriptor_key": "ratelimitd.lease", "descriptor_value": "none"}}
    found = described([limits(lease, KEY), limits(KEY)])
    assert found == (
        Descriptor(((b"generic_key", b"v"),), lease=b"none"),
        Descriptor(((b"generic_key", b"v"),)),
    )


def test_an_absent_parameter_is_skipped_where_the_file_says_so():
    """With skip_if_absent the descriptor goes on without its entry; without, there is no descriptor."""
    absent = {"query_parameter_name": "p", "descriptor_key": "q"}
    skipped = {"query_parameters": {**absent, "skip_if_absent": True}}
    found = described([limits({"query_parameters": absent}, KEY), limits(skipped, KEY)], query="o=1")
    assert [each.entries for each in found] == [((b"generic_key", b"v"),)]


TEXTS = [
    ({"exact": "a"}, "a", "ab"),
    ({"exact": "A", "ignore_case": True}, "a", "b"),
    ({"prefix": "a"}, "ab", "ba"),
    ({"suffix": "a"}, "ba", "ab"),
    ({"contains": "a"}, "bab", "b"),
    ({"safe_regex": {"regex": "a+"}}, "aa", "ab"),
    ({"safe_regex": {"regex": "a+", "google_re2": {}}}, "aa", "ab"),
]
MATCHES = [
    *(({"string_match": text}, yes, no) for text, yes, no in TEXTS),
    ({"present_match": True}, "a", None),
    ({"present_match": False}, None, "a"),
]
OF_HEADERS = [
    ({"string_match": {"exact": "a"}, "invert_match": True}, "b", "a"),
    ({"string_match": {"exact": ""}, "treat_missing_header_as_empty": True}, None, "a"),
]


def on_header(match, value, **more):
    headers = [] if value is None else [("x-a", value)]
    action = {"descriptor_value": "v", "headers": [{"name": "X-A", **match}], **more}
    return described([limits({"header_value_match": action})], headers=headers)


def on_query(match, value, **more):
    action = {"descriptor_value": "v", "query_parameters": [{"name": "p", **match}], **more}
    query = None if value is None else f"p={value}"
    return described([limits({"query_parameter_value_match": action})], query=query)


@pytest.mark.parametrize(
    ("described_by", "key", "match", "yes", "no"),
    [
        *((on_header, b"header_match", *match) for match in (*MATCHES, *OF_HEADERS)),
        *((on_query, b"query_match", *match) for match in MATCHES),
    ],
)
def test_a_match_makes_its_entry(described_by, key, match, yes, no):
    """Where the request matches; where it does not, with ``expect_match: false``."""
    for expect, there, absent in ((True, yes, no), (False, no, yes)):
        for more, name in (({}, key), ({"descriptor_key": "d"}, b"d")):
            (found,) = described_by(match, there, expect_match=expect, **more)
            assert ((name, b"v"),) == found.entries
            assert described_by(match, absent, expect_match=expect, **more) == ()


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
    assert [(each.override, each.hits, each.negative) for each in found] == [
        (None, None, False),
        (None, 0, False),
        (Override(5, Unit.HOUR), 3, True),
    ]


def test_a_route_without_rate_limits_has_no_descriptors():
    """So nothing is asked."""
    assert described([]) == ()
