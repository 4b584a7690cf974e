"""Resources of a control plane make the policy that envoyproxy/ratelimit makes of them."""

import pytest

from ratelimitd.policy import NodeRow, PolicyErrors, Where, assemble, where_of
from ratelimitd.policy_file import examine
from ratelimitd.sources.child import perform
from ratelimitd.sources.frames import ErrorFrame, LoadJob, WarningFrame
from ratelimitd.sources.pushed import TYPE, Pushed
from ratelimitd.sources.resources import documents
from testkit.control_plane import Response, config, response

UNITS = ("second", "minute", "hour", "day", "week", "month", "year")

FILE = b"""\
domain: edge
descriptors:
  - key: route
    value: "010"
    shadow_mode: true
    metadata: {tier: free, share: 2.5, count: 2, on: true, none: null, list: [a, 1, {deep: b}]}
    descriptors:
      - key: rule-0|x-user
        quota_mode: true
        detailed_metric: true
        rate_limit: {unit: week, requests_per_unit: 4294967295, name: n, replaces: [{name: a}, {name: b}]}
      - key: remote_address
        value: 192.168.0.0/16
        rate_limit: {unlimited: true}
  - key: path
    value: /api/*/items
    rate_limit: {unit: second, requests_per_unit: 0}
"""
"""What a file can say that the messages can, too; its numbers are doubles there."""

RESOURCE = config(
    "listener-80",
    {
        "key": "route",
        "value": "010",
        "shadow_mode": True,
        "metadata": {
            "tier": "free",
            "share": 2.5,
            "count": 2,
            "on": True,
            "none": None,
            "list": ["a", 1, {"deep": "b"}],
        },
        "descriptors": [
            {
                "key": "rule-0|x-user",
                "quota_mode": True,
                "detailed_metric": True,
                "rate_limit": {
                    "unit": "week",
                    "requests_per_unit": 4294967295,
                    "name": "n",
                    "replaces": [{"name": "a"}, {"name": "b"}],
                },
            },
            {"key": "remote_address", "value": "192.168.0.0/16", "rate_limit": {"unlimited": True}},
        ],
    },
    {"key": "path", "value": "/api/*/items", "rate_limit": {"unit": "second", "requests_per_unit": 0}},
    domain="edge",
)


def examined(*resources, **options):
    return examine(documents(in_order(*resources), "server"), **options)


def in_order(*resources):
    """A response in this order."""
    made = Response(version_info="1", nonce="1", type_url=TYPE)
    for each in resources:
        made.resources.add(type_url=TYPE, value=each.SerializeToString())
    return made.SerializeToString()


def errors(*resources):
    return [str(error) for error in examined(*resources).errors]


def limit(**fields):
    return config("r", {"key": "k", "rate_limit": fields})


def unplaced(rows):
    return [row._replace(file="", lines=()) if isinstance(row, NodeRow) else row for row in rows]


def test_a_resource_is_what_a_file_is():
    """Every field makes the same row as in a file."""
    assert examined(RESOURCE).errors == []
    rows, written = examined(RESOURCE).rows, examine([("f", FILE)]).rows
    assert unplaced(rows) == unplaced(written)


def test_a_limit_is_placed_by_its_resource():
    """By the name that errors give; a resource has no lines."""
    policy = assemble(examined(RESOURCE, limit(unit="day", requests_per_unit=5)).rows)
    limited = [node for node in policy.nodes if node.limits]
    assert {where_of(policy, node, 0) for node in limited} == {
        Where("listener-80", None, resource=True),
        Where("r", None, resource=True),
    }


@pytest.mark.parametrize("unit", UNITS)
def test_units(unit):
    """By the numbers of the messages, which are not those of envoy.type.v3."""
    (row,) = examined(limit(unit=unit, requests_per_unit=5)).rows[1:]
    assert [each.unit.name for each in row.limits] == [unit.upper()]


def test_values_are_any_text():
    """There is no YAML, whose scalars would need quotes, and no value that a header cannot have is an error."""
    values = ["yes", "1.5", "null", "12:30", "~", "!!int", "*", "é", "a\nb", "\x00", " "]
    found = examined(config("r", *({"key": "k", "value": value} for value in values)))
    assert found.errors == []
    assert [row.value.decode() for row in found.rows[1:]] == values


@pytest.mark.parametrize(
    ("resource", "told"),
    [
        (config("r", domain=""), "r: config file cannot have empty domain"),
        (config("r", {"key": ""}), "r: descriptor has empty key"),
        (limit(), "r: invalid rate limit unit 'UNKNOWN'"),
        (limit(unit=99), "r: invalid rate limit unit '99'"),
        (limit(unit="day", unlimited=True), "r: should not specify rate limit unit when unlimited"),
        (limit(unit="day", replaces=[{"name": ""}]), "r: should not have an empty replaces entry"),
        (
            limit(unit="day", name="n", replaces=[{"name": "n"}]),
            "r: replaces should not contain name of same descriptor",
        ),
        (
            config("r", {"key": "a", "value": "b"}, {"key": "a_b"}, domain="d"),
            "r: duplicate descriptor composite key 'd.a_b'",
        ),
        (config("r", {"key": "k", "metadata": {"a": float("nan")}}), "r: error parsing metadata: .nan cannot"),
        (config("r", {"key": "k\n"}), "r: error loading config file: 'key' must be a text without control characters"),
    ],
)
def test_errors_name_the_resource_and_begin_as_upstreams(resource, told):
    """The text is the NACK's."""
    (error,) = errors(resource)
    assert error.startswith(told)


def test_a_limit_that_is_there_and_empty_is_an_error_and_none_is_none():
    """As upstream tells a null rate_limit from an empty one."""
    assert examined(config("r", {"key": "k"})).rows[1].limits == ()
    assert errors(limit()) != []


def test_all_errors_of_all_resources_are_told():
    """In the order of the response."""
    found = errors(config("b", {"key": ""}, {"key": ""}), config("a", domain=""), config("c", domain="b"))
    assert [each.partition(":")[0] for each in found] == ["b", "b", "a", "c"]
    assert found[3] == "c: duplicate domain 'b' in config file"


def test_domains_are_merged_if_asked():
    """MERGE_DOMAIN_CONFIG is as for files."""
    two = config("a", {"key": "x"}, domain="d"), config("b", {"key": "y"}, domain="d")
    assert len(examined(*two).errors) == 1
    assert [row.key for row in examined(*two, merge_domains=True).rows[1:]] == [b"x", b"y"]


def test_the_default_algorithm_applies():
    """DEFAULT_ALGORITHM is all that a setting says of limits whose messages have no field for it."""
    limited = limit(unit="day", requests_per_unit=5)
    kinds = [examined(limited, **more).rows[1].limits[0].rate.algorithm for more in ({}, {"default_algorithm": "gcra"})]
    assert kinds == ["fixed_window", "gcra"]


def unreadable(body):
    with pytest.raises(PolicyErrors) as caught:
        documents(body, "control plane c:1")
    return [str(error) for error in caught.value.errors]


def test_what_is_no_resource_of_this_kind_is_an_error():
    """Another type, bytes that do not parse, and a name that is there twice; all of them at once."""
    made = response("1", [])
    for value in (config("a"), config("a")):
        made.resources.add(type_url=TYPE, value=value.SerializeToString())
    made.resources.add(type_url="type.googleapis.com/other")
    made.resources.add(type_url=TYPE, value=b"\xff")
    made.resources.add(type_url=TYPE, value=b"\x0a\x01\xff")
    assert [each.partition(":")[0] for each in unreadable(made.SerializeToString())] == [
        "a",
        *("resource 3", "resource 4", "resource 5"),
    ]


def test_a_response_of_another_type_is_an_error():
    """It is named with the right one."""
    (error,) = unreadable(response("1", [], type_url="type.googleapis.com/other").SerializeToString())
    assert error == f"control plane c:1: the response has the type 'type.googleapis.com/other': send '{TYPE}'"


@pytest.mark.parametrize("resource", [b"\xff\xff\xff", b"\x0a\x01\xff"])
def test_a_response_with_a_field_that_cannot_be_parsed_is_an_error(resource):
    """It is the control plane's, and says so; no fault of the parser."""
    whole = response("1", [config("r")]).SerializeToString()
    (error,) = unreadable(whole + bytes([0x12, len(resource)]) + resource)
    assert error.startswith("control plane c:1: the response has a field that cannot be parsed")


def test_a_response_of_no_bytes_removes_no_limit():
    """It has no type. Nothing at all, before the first response, is a policy without a domain."""
    assert unreadable(b"") == [f"control plane c:1: the response has the type '': send '{TYPE}'"]
    assert documents(None, "") == []


def test_unknown_fields_are_ignored():
    """A control plane may be newer."""
    newer = config("r", {"key": "k"}).SerializeToString() + b"\xfa\x3e\x03new"
    made = response("1", [])
    made.resources.add(type_url=TYPE, value=newer)
    assert [each.file for each in documents(made.SerializeToString(), "")] == ["r"]


def test_a_resource_without_a_name_is_named_by_its_place():
    """So that an error says which."""
    assert errors(config("", {"key": ""}, domain="d")) == ["resource 1: descriptor has empty key"]


def frames(pushed):
    return list(perform(LoadJob(pushed, "fixed_window", merge_domains=False, most=0, memory=0)))


def test_no_resource_is_a_policy_without_limits():
    """With a warning: a control plane says so by intent."""
    warning, end = frames(Pushed("c:1", "7", in_order()))
    assert isinstance(warning, WarningFrame)
    assert str(warning.warnings[0]).startswith("control plane c:1: no policy found")
    assert (end.summary.domains, end.files, end.version) == (0, 0, "7")


def test_limits_that_can_share_a_counter_are_one_warning():
    """Of all rules of the lint the one that an operator can heed without the control plane."""
    nested = {"key": "a", "descriptors": [{"key": "b", "rate_limit": {"unit": "day"}}]}
    *_, warning, _ = frames(Pushed("c:1", "1", in_order(config("r", nested))))
    assert "1 limit can share a counter in Redis: 'r.a.b'; set FIXED_WINDOW_KEYS=auto" in str(warning.warnings[0])


def test_errors_of_a_response_come_as_frames():
    """As those of files do."""
    error, _ = frames(Pushed("c:1", "1", in_order(config("r", domain=""))))
    assert isinstance(error, ErrorFrame)
