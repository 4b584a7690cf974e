"""The text of a scrape by a mapping file, against that of envoyproxy/ratelimit for the same traffic."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ratelimitd.limiter.stats import GONE_SERIES, Tallies, count
from ratelimitd.mapper import Exposed, Matcher, read_mapper
from ratelimitd.mapper.exposed import MATCHED
from ratelimitd.observe.metrics import SLICE, SLICE_BYTES, Counters, render
from ratelimitd.policy import Policy
from ratelimitd.statsd import Stat, service_stats

from .files import DEFAULT, GATEWAY

UPSTREAM_GATEWAY = """
ratelimit_service_rate_limit_total_hits{domain="shop",key1="user"} 12
ratelimit_service_rate_limit_over_limit{domain="shop",key1="user"} 2
ratelimit_service_rate_limit_near_limit{domain="shop",key1="user"} 2
ratelimit_service_rate_limit_within_limit{domain="shop",key1="user"} 10
ratelimit_service_rate_limit_total_hits{domain="shop",key1="path_/a",key2="method_GET"} 3
ratelimit_service_rate_limit_over_limit{domain="shop",key1="path_/a",key2="method_GET"} 2
ratelimit_service_rate_limit_near_limit{domain="shop",key1="path_/a",key2="method_GET"} 1
ratelimit_service_rate_limit_within_limit{domain="shop",key1="path_/a",key2="method_GET"} 1
ratelimit_service_rate_limit_shadow_mode{domain="shop",key1="path_/a",key2="method_GET"} 2
ratelimit_service_should_rate_limit_error{err_type="service_error"} 1
ratelimit_service_total_requests{grpc_method="ShouldRateLimit"} 3
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="0.005"} 1
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="0.01"} 1
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="0.025"} 1
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="0.05"} 1
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="0.1"} 1
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="0.25"} 1
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="0.5"} 1
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="1"} 1
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="2.5"} 2
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="5"} 2
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="10"} 2
ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="+Inf"} 3
ratelimit_service_response_time_seconds_sum{grpc_method="ShouldRateLimit"} 32
ratelimit_service_response_time_seconds_count{grpc_method="ShouldRateLimit"} 3
ratelimit_service_config_load_success 1
"""
"""What envoyproxy/ratelimit exposes with Envoy Gateway's mapping file for ``traffic``: calls of 0, 2 and 30 ms (the
file does not scale them), and no limit of one level in shadow mode, or of three levels."""

UPSTREAM_DEFAULT = """
ratelimit_service_rate_limit_total_hits{domain="shop",key1="user"} 12
ratelimit_service_rate_limit_over_limit{domain="shop",key1="user"} 2
ratelimit_service_rate_limit_near_limit{domain="shop",key1="user"} 2
ratelimit_service_rate_limit_within_limit{domain="shop",key1="user"} 10
ratelimit_service_rate_limit_shadow_mode{domain="shop",key1="user"} 2
ratelimit_service_rate_limit_total_hits{domain="shop",key1="path_/a",key2="method_GET"} 8
ratelimit_service_rate_limit_over_limit{domain="shop",key1="path_/a",key2="method_GET"} 2
ratelimit_service_rate_limit_near_limit{domain="shop",key1="path_/a",key2="method_GET"} 1
ratelimit_service_rate_limit_within_limit{domain="shop",key1="path_/a",key2="method_GET"} 6
ratelimit_service_rate_limit_shadow_mode{domain="shop",key1="path_/a",key2="method_GET"} 2
ratelimit_service_rate_limit_shop_user_over_limit_with_local_cache 1
ratelimit_service_rate_limit_nope_domain_not_found 4
ratelimit_service_should_rate_limit_error{err_type="service_error"} 1
ratelimit_service_total_requests{grpc_method="ShouldRateLimit"} 3
ratelimit_service_response_time_seconds_sum{grpc_method="ShouldRateLimit"} 0.032
ratelimit_service_response_time_seconds_count{grpc_method="ShouldRateLimit"} 3
ratelimit_service_config_load_success 1
ratelimit_service_global_shadow_mode 1
ratelimit_redis_pool_cx_active 2
"""
"""The same with upstream's own mappings, apart from the buckets: a third level is folded into the first two."""


def traffic():
    """Limits of one, two and three levels, calls of 0, 2 and 30 ms, and what the service counts besides."""
    tallies, counters = Tallies(), Counters()
    counters.times = {}
    one = tallies.of(("shop", "user"), "", from_request=False)
    two = tallies.of(("shop", "path_/a", "method_GET"), "", from_request=False)
    three = tallies.of(("shop", "path_/a", "method_GET", "tier_x"), "", from_request=False)
    for tally, limit, hits, shadow in ((one, 10, 12, True), (two, 1, 3, True), (three, 100, 5, False)):
        for before in range(hits):
            tally.total_hits += 1
            count(tally, limit, limit * 4 // 5, before, 1, shadow=shadow)
    one.over_limit_with_local_cache = 1
    for seconds in (0.0004, 0.0029, 0.030):
        counters.called("ShouldRateLimit", seconds, 1)
    counters.service_error = counters.config_load_success = counters.global_shadow_mode = 1
    return tallies, counters


def samples(text):
    """Sample lines by their name with labels."""
    pairs = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def exposed(file, tallies, counters):
    stats = [*service_stats(counters, [("nope", 4)]), Stat("ratelimit.redis_pool.cx_active", "gauge", 2)]
    text = b"".join(made(file).chunks(tallies, stats, counters.times or {})).decode()
    list(text_string_to_metric_families(text))
    return text


def made(file):
    return Exposed(Matcher(read_mapper("m.yaml", file.encode())))


def test_envoy_gateways_dashboards_show_upstreams_numbers():
    """Names, labels and values by its mapping file are those of envoyproxy/ratelimit, no more and no less."""
    assert samples(exposed(GATEWAY, *traffic())) == samples(UPSTREAM_GATEWAY)


def test_upstreams_own_mappings_show_upstreams_numbers():
    """The sums of series that become one, and what no mapping names, too."""
    found = samples(exposed(DEFAULT, *traffic()))
    assert {name: value for name, value in found.items() if "_bucket" not in name} == samples(UPSTREAM_DEFAULT)
    assert found['ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="0.005"}'] == 2


def test_a_series_is_once_in_a_scrape():
    """Limits that become one are one line, in each scrape, as they go on counting and others come."""
    rule = r"""
defaults: {match_type: regex}
mappings:
  - {match: '\.total_hits$', name: all}
  - {match: ., action: drop, name: dropped}
"""
    tallies, page = Tallies(), made(rule)
    for number in range(1, 4):
        tallies.of(("d", str(number)), "", from_request=False).total_hits = number
        lines = b"".join(page.chunks(tallies, (), {})).decode().splitlines()
        assert lines[1:] == ["# TYPE all counter", f"all {sum(range(number + 1))}"]


def test_a_timer_without_a_histogram_is_a_summary():
    """With its sum and its number; it has no quantiles."""
    text = exposed("mappings: [{match: '^ratelimit\\.', match_type: regex, action: drop, name: x}]", *traffic())
    name = "ratelimit_server_ShouldRateLimit_response_time"
    assert f"# TYPE {name} summary\n{name}_sum 32.0\n{name}_count 3\n" in text


def test_buckets_scale_and_help_are_the_mappings():
    """Of limits, of other counters and of timers."""
    file = """
mappings:
  - {match: ratelimit_server.*.response_time, name: t, timer_type: histogram, buckets: [1.5, 60], scale: 2, help: Time.}
  - {match: 'ratelimit.service.rate_limit.*.*.total_hits', name: h, scale: 0.5, help: Hits.}
  - {match: ratelimit.service.config_load_success, name: h, scale: 3}
  - {match: ., match_type: regex, action: drop, name: dropped}
"""
    text = exposed(file, *traffic())
    assert text == (
        "# HELP h Hits.\n# TYPE h counter\nh 9.0\n"
        "# HELP t Time.\n# TYPE t histogram\n"
        't_bucket{le="1.5"} 1\nt_bucket{le="60"} 3\nt_bucket{le="+Inf"} 3\nt_sum 64.0\nt_count 3\n'
    )


@pytest.mark.parametrize("first", ["nothing", r"\.rate_limit\."])
def test_a_name_of_two_kinds_has_the_first(first):
    """Prometheus refuses a page on which a name has two types."""
    file = f"""
defaults: {{match_type: regex}}
mappings:
  - {{match: {first}, action: drop, name: dropped}}
  - {{match: ., name: same}}
"""
    lines = exposed(file, *traffic()).splitlines()
    assert [line.split()[:2] for line in lines] == [["#", "HELP"], ["#", "TYPE"], ["same", lines[-1].split()[1]]]


def test_a_scrape_gives_way_while_it_matches_names():
    """A chunk, which is empty then, after MATCHED limits; the limits of a later scrape are matched already."""
    tallies, page = Tallies(), made(GATEWAY)
    for number in range(20 * MATCHED):
        tallies.of(("d", str(number)), "", from_request=False).total_hits = 1
    first = list(page.chunks(tallies, (), {}))
    assert first[:20] == [b""] * 20
    assert len(list(page.chunks(tallies, (), {}))) == len(first) - 20


def test_two_scrapes_match_each_limit_once():
    """Both may begin before either has ended."""
    tallies, page = Tallies(), made(GATEWAY)
    for number in range(5 * MATCHED):
        tallies.of(("d", str(number)), "", from_request=False).total_hits = 1
    one, other = page.chunks(tallies, (), {}), page.chunks(tallies, (), {})
    next(one), next(other), next(other)
    for text in (b"".join(one), b"".join(other)):
        assert sum(line.endswith(b"} 1") for line in text.splitlines() if b"total_hits{" in line) == 5 * MATCHED


def test_chunks_are_bounded():
    """At most SLICE series, and SLICE_BYTES."""
    tallies, page = Tallies(), made(GATEWAY)
    for number in range(3 * SLICE):
        tallies.of(("d", f"{number}".ljust(60, "x")), "", from_request=False).total_hits = 1
    assert max(map(len, page.chunks(tallies, (), {}))) <= SLICE_BYTES + 500


@pytest.mark.parametrize("file", [GATEWAY, DEFAULT])
async def test_our_own_metrics_of_limits_are_never_mapped(file):
    """``ratelimitd_*`` stays on the page, whatever the file says."""
    tallies, _ = traffic()
    next(iter(tallies)).later().questions = 3
    chunks = [chunk async for chunk in render(tallies, (), upstreams=made(file).chunks(tallies, (), {}))]
    text = b"".join(chunks).decode()
    assert 'ratelimitd_questions_total{domain="shop",key1="user"} 3' in text
    assert b"" not in chunks[:-1]


def let_go(tallies):
    """Let go of all that is there, by a policy that has none of it and as many others as stay."""
    for number in range(GONE_SERIES):
        tallies.of(("late", str(number)), "", from_request=False)
    list(tallies.retire(Policy({}, [])))


def kept(page):
    """The number of series that it keeps."""
    return sum(len(group.listed) for group in page._groups.values())


def kept_of(tallies):
    """That of a page which has seen no others."""
    page = made(GATEWAY)
    list(page.chunks(tallies, (), {}))
    return kept(page)


def test_the_series_of_limits_that_are_gone_are_left_out():
    """From the next scrape on, also where another limit has the place of one."""
    tallies, page = Tallies(), made(GATEWAY)
    for name in "ab":
        tallies.of(("d", name), "", from_request=False).total_hits = 1
    assert b'total_hits{domain="d",key1="a"} 1' in b"".join(page.chunks(tallies, (), {}))
    let_go(tallies)
    tallies.of(("d", "new"), "", from_request=False).total_hits = 2
    found = samples(b"".join(page.chunks(tallies, (), {})).decode())
    assert found == {'ratelimit_service_rate_limit_total_hits{domain="d",key1="new"}': 2}
    assert kept(page) == kept_of(tallies)


def test_a_sum_keeps_what_limits_that_are_gone_had_added():
    """A counter that decreases would be one that began anew, and its whole value an increase."""
    rule = (
        r"mappings: [{match: '*.*.*.*.*.total_hits', name: all}, {match: ., match_type: regex, action: drop, name: x}]"
    )
    tallies, page = Tallies(), made(rule)
    for hits, name in enumerate("abc", 1):
        tallies.of(("d", name), "", from_request=False).total_hits = hits
    assert samples(b"".join(page.chunks(tallies, (), {})).decode()) == {"all": 6}
    let_go(tallies)
    assert samples(b"".join(page.chunks(tallies, (), {})).decode()) == {"all": 6}
    next(iter(tallies)).total_hits += 4
    assert samples(b"".join(page.chunks(tallies, (), {})).decode()) == {"all": 10}


def test_a_series_that_comes_back_after_a_scrape_was_left_is_one():
    """What leaves the old one out for the second time does not leave out the new one, which others add to."""
    rule = (
        "mappings: [{match: '*.*.*.*.*.total_hits', name: all, labels: {dom: $4}}, "
        "{match: ., match_type: regex, action: drop, name: x}]"
    )
    tallies, page = Tallies(), made(rule)
    tallies.of(("d", "a"), "", from_request=False).total_hits = 1
    list(page.chunks(tallies, (), {}))
    let_go(tallies)
    begun = page.chunks(tallies, (), {})
    while not page._pruning:
        next(begun)
    begun.close()
    for hits, name in enumerate("abc", 1):
        tallies.of(("d", name), "", from_request=False).total_hits = hits
        text = b"".join(page.chunks(tallies, (), {})).decode()
    assert text.splitlines()[-1:] == ['all{dom="d"} 6']


def test_a_scrape_that_is_left_does_not_keep_others_from_leaving_series_out():
    """It gives way while it does so, and the next scrape does it again."""
    tallies, page = Tallies(), made(GATEWAY)
    tallies.of(("d", "a"), "", from_request=False).total_hits = 1
    list(page.chunks(tallies, (), {}))
    let_go(tallies)
    begun = page.chunks(tallies, (), {})
    while not page._pruning:
        assert next(begun) == b""
    begun.close()
    assert samples(b"".join(page.chunks(tallies, (), {})).decode()) == {}
    assert kept(page) == kept_of(tallies)
