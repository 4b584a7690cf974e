"""What the lint takes from a gateway file is what the proxy takes from it."""

import json
import time

import pytest

from ratelimitd.config.yaml_nodes import load_yaml
from ratelimitd.gateway.rate_limits import ACTIONS, ENVOY_ACTIONS
from ratelimitd.lint.routes import _ENTRIES, read_routes
from tests.gateway.files import Router, ask, described, gateway

EXAMPLES = {
    "generic_key": [{"descriptor_value": "v"}, {"descriptor_key": "k", "descriptor_value": "v"}],
    "request_headers": [{"header_name": "X-A", "descriptor_key": "a"}],
    "query_parameters": [{"query_parameter_name": "q", "descriptor_key": "a"}],
    "remote_address": [{}],
    "masked_remote_address": [{"v4_prefix_mask_len": 24}],
    "header_value_match": [
        {"descriptor_value": "v", "headers": [{"name": "x-a", "present_match": True}]},
        {"descriptor_key": "k", "descriptor_value": "v", "headers": [{"name": "x-a", "present_match": True}]},
    ],
    "query_parameter_value_match": [
        {"descriptor_value": "v", "query_parameters": [{"name": "q"}]},
        {"descriptor_key": "k", "descriptor_value": "v", "query_parameters": [{"name": "q"}]},
    ],
    "destination_cluster": [{}],
    "source_cluster": [{}],
}


OF_A_REQUEST = {"request_headers", "query_parameters", "remote_address", "masked_remote_address"}


def read(route, **top):
    """The one route of a gateway file."""
    (found,) = read_routes(load_yaml(json.dumps({"upstreams": {"app": {}}, "routes": [route], **top}).encode())).routes
    return found


def entries(*actions):
    (item,) = read({"rate_limits": [{"actions": list(actions)}]}).items
    return item.entries


def test_every_action_has_an_example():
    """And every one that the proxy reads is known to the lint; the rest is Envoy's."""
    assert EXAMPLES.keys() == ACTIONS.keys()
    assert ACTIONS.keys() <= _ENTRIES.keys() <= ACTIONS.keys() | ENVOY_ACTIONS.keys()


@pytest.mark.parametrize(("kind", "fields"), [(kind, fields) for kind, all_ in EXAMPLES.items() for fields in all_])
def test_an_entry_is_the_proxys(kind, fields):
    """Its key, and its value if that is known without a request."""
    action = {kind: fields}
    (descriptor,) = described([{"actions": [action]}], headers=[("X-A", "1")], query="q=2")
    ((key, value),) = descriptor.entries
    (entry,) = entries(action)
    assert (entry.key, entry.value or value) == (key, value)
    assert (entry.value is None) == (kind in OF_A_REQUEST)


@pytest.mark.parametrize("kind", ["request_headers", "query_parameters"])
def test_what_may_be_absent_is_what_drops_an_entry(kind):
    """Without the header or parameter the proxy sends no descriptor, or one without the entry."""
    for skip, sent in ((False, ()), (True, (((b"remote_address", b"192.0.2.1"),),))):
        actions = [{kind: {**EXAMPLES[kind][0], "skip_if_absent": skip}}, {"remote_address": {}}]
        assert tuple(each.entries for each in described([{"actions": actions}])) == sent
        first, second = entries(*actions)
        assert (bool(first.needs), first.skipped, second.needs) == (True, skip, "")


@pytest.mark.parametrize("name", [":path", ":Method", "host", "Host", ":authority"])
def test_a_header_of_every_request_is_never_absent(name):
    """A pseudo-header, or that of the host, which the proxy makes one."""
    (entry,) = entries({"request_headers": {"header_name": name, "descriptor_key": "a"}})
    assert entry.needs == ""


@pytest.mark.parametrize(
    ("condition", "present"),
    [
        ({}, True),
        ({"present": True}, True),
        ({"present": False}, False),
        ({"present_match": False}, False),
        ({"invert": True}, False),
        ({"present": False, "invert_match": True}, True),
        ({"exact": "a"}, True),
        ({"exact": "a", "invert": True}, True),
        ({"string_match": {"prefix": "a"}, "invert_match": True}, True),
        ({"exact": "a", "treat_missing_header_as_empty": True}, False),
    ],
)
def test_a_route_by_header_knows_whether_its_requests_have_it(condition, present):
    """As the proxy selects the route for a request without the header, or does not."""
    match = {"headers": [{"name": "X-A", **condition}]}
    missing = ask(Router(gateway({"match": match}))) is None
    if present:
        assert missing
    assert ("x-a" in read({"match": match}).present) == present


@pytest.mark.parametrize(
    "text", [b"5", b"[]", b"{}", b"routes: {}", b"routes: [5, {rate_limits: [5, {actions: [5]}]}]"]
)
def test_a_file_of_another_shape_has_no_routes_or_items_of_unknown_entries(text):
    """It is an error elsewhere; a service that only reads the policies of the file lints it anyway."""
    routes = read_routes(load_yaml(text)).routes
    assert [item for route in routes for item in route.items if item.entries] == []


@pytest.mark.alone
@pytest.mark.parametrize("prefix", ["/p{}", "/"])
def test_many_routes_that_take_requests_without_a_header_are_read_in_linear_time(prefix):
    """Whatever they have in common: eight times as many take eight times as long, or thrice that."""

    def seconds(count):
        routes = [
            {
                "match": {"prefix": prefix.format(number), "headers": [{"name": f"x-{number}", "present": False}]},
                "rate_limits": [{"actions": [{"request_headers": {"header_name": "x-0", "descriptor_key": "a"}}]}],
            }
            for number in range(count)
        ]
        node = load_yaml(json.dumps({"routes": routes}).encode())
        began = time.process_time()
        found = read_routes(node)
        assert ("x-0" in found.routes[-1].present) == (prefix == "/")
        return time.process_time() - began

    assert min(seconds(3_200) for _ in range(3)) < 24 * min(seconds(400) for _ in range(3))
