"""What a flush sends: the differences from the last one."""

from ratelimitd.limiter.stats import GONE_SERIES, Tallies
from ratelimitd.observe.metrics import LONGEST_TIME, Counters
from ratelimitd.policy import Policy
from ratelimitd.statsd.deltas import TIMER_LINES, Deltas
from ratelimitd.statsd.names import Stat, service_stats

from .receiving import PLAIN


def flushed(pieces):
    return b"".join(pieces).decode().splitlines()


def test_a_counter_of_a_limit_is_sent_when_it_has_grown():
    """By what it has grown; others not at all, as in upstream."""
    tallies, deltas = Tallies(), Deltas(PLAIN)
    first = tallies.of(("d", "key_value"), "", from_request=False)
    tallies.of(("d", "idle"), "", from_request=False)
    first.total_hits, first.within_limit = 5, 3
    begin = "ratelimit.service.rate_limit.d.key_value"
    assert flushed(deltas.limits(tallies)) == [f"{begin}.total_hits:5|c", f"{begin}.within_limit:3|c"]
    assert flushed(deltas.limits(tallies)) == []
    first.total_hits += 2
    late = tallies.of(("e", "k"), "hourly", from_request=False)
    late.over_limit_with_local_cache = 9
    assert flushed(deltas.limits(tallies)) == [
        f"{begin}.total_hits:2|c",
        "ratelimit.service.rate_limit.e.k.limit_hourly.over_limit_with_local_cache:9|c",
    ]


def test_a_flush_that_ends_early_leaves_the_rest():
    """A difference is taken when its line is made, and not before."""
    tallies, deltas = Tallies(), Deltas(PLAIN)
    for name in "abc":
        tallies.of(("d", name), "", from_request=False).total_hits = 1
    begun = deltas.limits(tallies)
    next(begun)
    begun.close()
    assert [line.split(".")[4] for line in flushed(deltas.limits(tallies))] == ["b", "c"]


def test_hits_beyond_any_number_of_a_machine_are_no_error():
    """Callers choose their hits; a sum of 2**63 and more goes on, as a counter of 64 bits does."""
    tallies, deltas = Tallies(), Deltas(PLAIN)
    tally = tallies.of(("d", "k"), "", from_request=False)
    tally.total_hits = (1 << 63) - 2
    flushed(deltas.limits(tallies))
    tally.total_hits += 5
    assert flushed(deltas.limits(tallies)) == ["ratelimit.service.rate_limit.d.k.total_hits:5|c"]


def test_a_gauge_is_sent_each_time():
    """Its state is what counts, a 0 too."""
    deltas = Deltas(PLAIN)
    for _ in range(2):
        assert flushed(deltas.stats([Stat("g", "gauge", 0), Stat("c", "counter", 0)])) == ["g:0|g"]


def test_the_service_has_upstreams_names():
    """Errors, loads, shadowed answers, calls and unknown domains, each by what it has grown."""
    counters, deltas = Counters(), Deltas(PLAIN)
    counters.redis_error, counters.service_error, counters.global_shadow_mode = 1, 2, 3
    counters.config_load_success, counters.config_load_error = 4, 5
    counters.called("ShouldRateLimit", 0.001, 6)
    assert flushed(deltas.stats(service_stats(counters, [("un:known", 7)]))) == [
        "ratelimit.service.call.should_rate_limit.redis_error:1|c",
        "ratelimit.service.call.should_rate_limit.service_error:2|c",
        "ratelimit.service.config_load_success:4|c",
        "ratelimit.service.config_load_error:5|c",
        "ratelimit.service.global_shadow_mode:3|c",
        "ratelimit_server.ShouldRateLimit.total_requests:6|c",
        "ratelimit.service.rate_limit.un_known.domain_not_found:7|c",
    ]
    counters.redis_error += 1
    assert flushed(deltas.stats(service_stats(counters, [("un:known", 7)]))) == [
        "ratelimit.service.call.should_rate_limit.redis_error:1|c"
    ]


def test_response_times_are_whole_milliseconds_a_line_for_each_call():
    """As upstream measures: rounded down. What was sent is not sent again."""
    counters, deltas = Counters(), Deltas(PLAIN)
    counters.times = {}
    counters.called("Check", 0.0019, 2)
    counters.called("Check", 0.0, 1)
    name = "ratelimit_server.Check.response_time"
    assert flushed(deltas.times(counters.times)) == [f"{name}:0|ms", f"{name}:1|ms", f"{name}:1|ms"]
    counters.called("Check", 1e9, 1)
    assert flushed(deltas.times(counters.times)) == [f"{name}:{LONGEST_TIME}|ms"]


def test_many_response_times_are_sent_by_a_rate():
    """A flush has about TIMER_LINES of a method at most, whatever its calls."""
    counters, deltas = Counters(), Deltas(PLAIN)
    counters.times = {}
    counters.called("Check", 0.001, 3 * TIMER_LINES)
    lines = flushed(deltas.times(counters.times))
    assert lines == ["ratelimit_server.Check.response_time:1|ms|@0.25"] * (3 * TIMER_LINES // 4)


def test_times_are_counted_only_where_they_are_sent():
    """A service that sends nothing keeps no table of them."""
    counters = Counters()
    counters.called("Check", 0.001, 1)
    assert counters.times is None


def test_a_method_may_be_called_first_during_a_flush():
    """The loop turns within a flush; the new one is in the next."""
    deltas, counters = Deltas(PLAIN), Counters()
    counters.times = {}
    counters.called("ShouldRateLimit", 0.001, 1)
    for made in (lambda: deltas.stats(service_stats(counters, ())), lambda: deltas.times(counters.times)):
        lines = made()
        first = next(lines)
        counters.called(f"Method{len(counters.times)}", 0.001, 1)
        assert flushed([first, *lines])[0].startswith("ratelimit_server.ShouldRateLimit.")
    assert any("Method2" in line for line in flushed(deltas.times(counters.times)))


def gone_with(tallies, *tally_of):
    """Let go of these, by a policy that has none of the limits and as many others as stay."""
    for number in range(GONE_SERIES):
        tallies.of(("d", f"late{number}"), "", from_request=False)
    list(tallies.retire(Policy({}, [])))
    assert {tally.place for tally in tally_of} == {-1}


def test_the_last_differences_of_a_limit_that_is_gone_are_sent():
    """Once, whether another limit has its place by now or not; that one begins at 0."""
    tallies, deltas = Tallies(), Deltas(PLAIN)
    first, second = (tallies.of(("d", name), "", from_request=False) for name in "ab")
    first.total_hits = second.total_hits = 5
    assert len(flushed(deltas.limits(tallies))) == 2
    first.total_hits += 1
    second.total_hits += 2
    gone_with(tallies, first, second)
    new = tallies.of(("d", "new"), "", from_request=False)
    new.total_hits = 5
    assert sorted(flushed(deltas.limits(tallies))) == [
        f"ratelimit.service.rate_limit.d.{name}.total_hits:{hits}|c" for name, hits in (("a", 1), ("b", 2), ("new", 5))
    ]
    assert flushed(deltas.limits(tallies)) == []
    assert {owner.place for owner in deltas._owners if owner is not None} == {tally.place for tally in tallies}
