"""How a descriptor finds its limits, and what the limit is then called."""

import pytest

from ratelimitd.algorithms import ALGORITHMS, WINDOW_MAX
from ratelimitd.policy import LEASE, UNIT_SECONDS, Descriptor, Override, Unit, described, match, pinned
from ratelimitd.policy_file import parse


def domain(text):
    return next(iter(parse([("p.yaml", text.encode())]).domains.values()))


def descriptor(*entries, override=None):
    made = tuple((key.encode(), value.encode()) for key, _, value in (entry.partition("=") for entry in entries))
    return Descriptor(made, override)


def found(tree, *entries, override=None):
    result = match(tree, descriptor(*entries, override=override))
    assert result is not None
    return result


def quota(tree, *entries):
    result = match(tree, descriptor(*entries))
    return None if result is None else result.limits[0].requests_per_unit


@pytest.mark.parametrize(
    ("sent", "entries", "lease"),
    [
        ([b"a"], [b"a"], None),
        ([b"a", LEASE, b"b"], [b"a", b"b"], b"1"),
        ([LEASE, b"a", LEASE], [b"a"], b"2"),
        ([LEASE], [], b"0"),
    ],
)
def test_a_descriptor_is_matched_without_its_lease(sent, entries, lease):
    """The last of several is the lease."""
    made = described(tuple((key, b"%d" % number) for number, key in enumerate(sent)), None, 5)
    assert ([key for key, _ in made.entries], made.lease, made.hits) == (entries, lease, 5)


TREE = """
domain: d
descriptors:
  - {key: k, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: k, value: exact, rate_limit: {unit: second, requests_per_unit: 2}}
  - {key: k, value: "e*", rate_limit: {unit: second, requests_per_unit: 3}}
  - {key: k, value: "ex*", rate_limit: {unit: second, requests_per_unit: 4}}
  - {key: k, value: allowed}
  - key: k
    value: deep
    descriptors:
      - {key: sub, value: a, rate_limit: {unit: second, requests_per_unit: 5}}
  - key: parent
    rate_limit: {unit: second, requests_per_unit: 6}
    descriptors:
      - {key: child, rate_limit: {unit: second, requests_per_unit: 7}}
  - {key: "w*d", rate_limit: {unit: second, requests_per_unit: 8}}
"""


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["k=exact"], 2),
        (["k=extra"], 3),
        (["k=other"], 1),
        (["k="], 1),
        (["k=allowed"], None),
        (["K=exact"], None),
        (["k=Exact"], 1),
        (["unknown=x"], None),
        (["k=deep"], None),
        (["k=deep", "sub=a"], 5),
        (["k=deep", "sub=b"], None),
        (["k=exact", "sub=a"], None),
        (["parent=x"], 6),
        (["parent=x", "child=y"], 7),
        (["parent=x", "child=y", "more=z"], None),
        (["k=*"], 1),
        (["k=e*"], 3),
        (["wor=ld"], 8),
        ([], None),
    ],
)
def test_the_tree_is_walked_without_a_second_try(entries, expected):
    """Exact value, else the first wildcard of the file, else the bare key; a limit applies at its own depth only."""
    assert quota(domain(TREE), *entries) == expected


def test_bytes_that_are_no_text_are_matched_like_any_other():
    """A header value that is not UTF-8 has its limit, and a name that can be printed."""
    result = match(domain(TREE), Descriptor(((b"k", b"\xff"),)))
    assert result is not None
    assert (result.pins, result.stat_key) == ((), ("d", "k"))


def test_a_binary_value_is_matched():
    """``!!binary`` is how a policy names bytes that are no text."""
    tree = domain("domain: d\ndescriptors: [{key: k, value: !!binary /w==, rate_limit: {unit: day}}]")
    assert match(tree, Descriptor(((b"k", b"\xff"),))) is not None


STATS = """
domain: test-domain
descriptors:
  - {key: plain, value: v, rate_limit: {unit: second}}
  - {key: wild, value: "foo*", rate_limit: {unit: second}}
  - key: route
    value: api/*
    share_threshold: true
    descriptors:
      - {key: method, value_to_metric: true, rate_limit: {unit: second}}
  - key: service
    value: svc/*
    share_threshold: true
    descriptors:
      - {key: endpoint, detailed_metric: true, rate_limit: {unit: second}}
  - key: path
    value: path/*
    share_threshold: true
    descriptors:
      - key: file
        value: file/*
        share_threshold: true
        value_to_metric: true
        descriptors:
          - {key: type, rate_limit: {unit: second}}
  - {key: file, value: "test*", share_threshold: true, rate_limit: {unit: second}}
  - {key: file, value: test1, rate_limit: {unit: second}}
  - key: v
    value_to_metric: true
    descriptors:
      - key: http_method
        value_to_metric: true
        descriptors:
          - {key: subject_id, rate_limit: {unit: second}}
          - {key: detailed, detailed_metric: true, rate_limit: {unit: second}}
"""


@pytest.mark.parametrize(
    ("entries", "stat_key", "from_request"),
    [
        (["plain=v"], "test-domain.plain_v", False),
        (["wild=foo1"], "test-domain.wild_foo*", False),
        (["route=api/v1", "method="], "test-domain.route_api/*.method", False),
        (["route=api/v1", "method=GET"], "test-domain.route_api/*.method_GET", True),
        (["service=svc/1", "endpoint=get"], "test-domain.service_svc/*.endpoint_get", True),
        (["path=path/1", "file=file/2", "type=3"], "test-domain.path_path/*.file_file/*.type", False),
        (["file=test1"], "test-domain.file_test1", False),
        (["file=test2"], "test-domain.file_test*", False),
        (["v=", "http_method=GET", "subject_id=1"], "test-domain.v.http_method_GET.subject_id", True),
        (["v=", "http_method=GET", "detailed="], "test-domain.v_.http_method_GET.detailed_", True),
        (["v=1.2.3.4", "http_method=a:b|c", "subject_id="], "test-domain.v_1_2_3_4.http_method_a_b_c.subject_id", True),
        (["v=1.2", "http_method=x.y.z", "subject_id="], "test-domain.v_1.2.http_method_x.y.z.subject_id", True),
    ],
)
def test_a_limit_is_named_after_its_place_in_the_file(entries, stat_key, from_request):
    """detailed_metric, value_to_metric and share_threshold decide which values of the request stand in the name."""
    result = found(domain(STATS), *entries)
    assert (".".join(result.stat_key), result.stat_from_request) == (stat_key, from_request)


def test_share_threshold_gives_all_matches_one_identity():
    """The pattern takes the place of the value at its own level only, also when the limit is deeper."""
    result = found(domain(STATS), "route=api/v1", "method=GET")
    counted = pinned(result.pins, ((b"route", b"api/v1"), (b"method", b"GET")))
    assert counted == ((b"route", b"api/*"), (b"method", b"GET"))


def test_without_share_threshold_every_value_has_its_own_identity():
    """A wildcard is a rule, not a counter."""
    result = found(domain(STATS), "wild=foo1")
    assert pinned(result.pins, ((b"wild", b"foo1"),)) == ((b"wild", b"foo1"),)


@pytest.mark.parametrize("flag", ["detailed_metric", "value_to_metric"])
def test_metadata_is_there_whatever_the_metric_is_called(flag):
    """The two flags change a name; upstream loses the metadata then."""
    tree = domain(f"domain: d\ndescriptors: [{{key: k, {flag}: true, metadata: {{a: 1}}, rate_limit: {{unit: day}}}}]")
    assert found(tree, "k=x").metadata == {"a": 1}


def test_an_override_needs_no_node():
    """It is a plain limit of the domain's default algorithm, called by the values of the request."""
    tree = domain("domain: d\ndefault_algorithm: token_bucket\n")
    result = found(tree, "a=1", "b=", override=Override(10, Unit.MINUTE))
    (limit,) = result.limits
    assert limit.rate is not None
    assert (limit.rate.algorithm, limit.rate.quota, limit.rate.window) == ("token_bucket", 10, 60_000_000)
    assert (result.stat_key, result.stat_from_request, limit.upstream) == (("d", "a_1", "b"), True, False)


def test_an_override_goes_before_the_tree():
    """What the request brings wins over the policy, without its name, shadow or metadata."""
    tree = domain("domain: d\ndescriptors: [{key: k, shadow_mode: true, rate_limit: {unit: day, name: n}}]")
    (limit,) = found(tree, "k=x", override=Override(3, Unit.SECOND)).limits
    assert (limit.requests_per_unit, limit.name, limit.shadow_mode, limit.upstream) == (3, "", False, True)


def test_an_override_without_a_unit_leaves_the_tree_in_force():
    """Unit UNKNOWN ends the process of envoyproxy/ratelimit; an error would let the request pass."""
    tree = domain("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 9}}]")
    assert found(tree, "k=x", override=Override(1, Unit.UNKNOWN)).limits[0].requests_per_unit == 9


def test_an_override_too_large_for_its_algorithm_is_still_enforced():
    """sliding_window keeps every charge; above its 10,000 the counter stands in."""
    tree = domain("domain: d\ndefault_algorithm: sliding_window\n")
    rate = found(tree, "k=x", override=Override(4_000_000_000, Unit.YEAR)).limits[0].rate
    assert rate is not None
    assert (rate.algorithm, rate.quota) == ("sliding_window_counter", 4_000_000_000)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_override_of_several_units_has_their_window(algorithm):
    """Ten minutes are no minute; and its counter has a name that no window of one unit has."""
    tree = domain(f"domain: d\ndefault_algorithm: {algorithm}\n")
    (limit,) = found(tree, "k=x", override=Override(3, Unit.MINUTE, 10)).limits
    assert limit.rate is not None
    assert (limit.rate.window, limit.unit, limit.unit_multiplier) == (600_000_000, Unit.MINUTE, 10)
    assert limit.upstream is False


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("unit", UNIT_SECONDS)
@pytest.mark.parametrize("quota", [0, 1, 10_000, (1 << 32) - 1])
def test_an_override_of_any_window_is_enforced(algorithm, unit, quota):
    """A window of more than 71 years counts as one of almost that many, in whole units: an error would let it pass."""
    tree = domain(f"domain: d\ndefault_algorithm: {algorithm}\n")
    (longest,) = found(tree, "k=x", override=Override(quota, unit, (1 << 32) - 1)).limits
    assert longest.rate is not None
    units = longest.unit_multiplier
    assert longest.rate.window == UNIT_SECONDS[unit] * units * 1_000_000 <= WINDOW_MAX
    assert WINDOW_MAX - longest.rate.window < UNIT_SECONDS[unit] * 1_000_000
    (same,) = found(tree, "k=x", override=Override(quota, unit, units)).limits
    assert same == longest


def test_equal_overrides_share_their_rate():
    """Making a rate costs more than a look-up."""
    tree = domain("domain: d\n")
    first, second = (found(tree, f"k={n}", override=Override(77, Unit.HOUR)).limits[0].rate for n in range(2))
    assert first is second
