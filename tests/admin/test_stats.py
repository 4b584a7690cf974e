"""/stats: upstream's statsd names."""

from ratelimitd.admin.stats import statsd_text
from ratelimitd.limiter.stats import Tallies, count
from ratelimitd.observe.metrics import SLICE, Counters


async def lines(tallies, counters=None):
    given = statsd_text(tallies, tallies.unknown_domains(), counters or Counters())
    return b"".join([chunk async for chunk in given]).decode().splitlines()


async def test_limits_have_their_full_key():
    """domain.key_value.key_value.counter, and only what counted."""
    tallies = Tallies()
    tally = tallies.of(("basic", "path_/a", "method_GET"), "", from_request=False)
    tally.total_hits = 1
    count(tally, 20, 16, 0, 1, shadow=False)
    assert [line for line in await lines(tallies) if ".rate_limit." in line] == [
        "ratelimit.service.rate_limit.basic.path_/a.method_GET.total_hits: 1",
        "ratelimit.service.rate_limit.basic.path_/a.method_GET.within_limit: 1",
    ]


async def test_several_limits_of_a_descriptor_are_told_apart():
    """Two lines of one name would be worth nothing."""
    tallies = Tallies()
    for item in ("0", "hourly"):
        tallies.of(("d", "k"), item, from_request=False).total_hits = 1
    assert [line for line in await lines(tallies) if "total_hits" in line] == [
        "ratelimit.service.rate_limit.d.k.limit_0.total_hits: 1",
        "ratelimit.service.rate_limit.d.k.limit_hourly.total_hits: 1",
    ]


async def test_the_service_counts_too():
    """Errors, loads, shadowed answers, calls and unknown domains."""
    tallies, counters = Tallies(), Counters()
    tallies.unknown_domain("no\npe", 2)
    counters.called("ShouldRateLimit", 0.001, 1)
    counters.redis_error = 3
    assert await lines(tallies, counters) == [
        "ratelimit.service.call.should_rate_limit.redis_error: 3",
        "ratelimit.service.call.should_rate_limit.service_error: 0",
        "ratelimit.service.config_load_success: 0",
        "ratelimit.service.config_load_error: 0",
        "ratelimit.service.global_shadow_mode: 0",
        "ratelimit_server.ShouldRateLimit.total_requests: 1",
        "ratelimit.service.rate_limit.no\\npe.domain_not_found: 2",
    ]


async def test_chunks_are_bounded():
    """At most SLICE limits a chunk, whatever their number."""
    tallies = Tallies()
    for i in range(3 * SLICE + 1):
        tallies.of(("d", str(i)), "", from_request=False).total_hits = 1
    chunks = [chunk.count(b"total_hits") async for chunk in statsd_text(tallies, (), Counters())]
    assert chunks == [0, SLICE, SLICE, SLICE, 1]
