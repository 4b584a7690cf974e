"""The text of a scrape."""

import asyncio
import threading
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ratelimitd.app.exposition import service_families
from ratelimitd.app.redis import BATCH_BUCKETS
from ratelimitd.gateway.access_log import LATENCY_BUCKETS
from ratelimitd.observe.metrics import (
    LIMIT_COUNTERS,
    LIMIT_PREFIX,
    RESPONSE_BUCKETS,
    SLICE,
    SLICE_BYTES,
    STORE_BUCKETS,
    Counters,
    Family,
    Histogram,
    family_text,
    limit_labels,
    render,
    single,
)
from tests.turning import turning


@dataclass
class Tally:
    """What the limiter counts for one limit."""

    stat_key: tuple[str, ...]
    item: str = ""
    total_hits: int = 0
    over_limit: int = 0
    near_limit: int = 0
    within_limit: int = 0
    over_limit_with_local_cache: int = 0
    shadow_mode: int = 0
    label_text: bytes = b""
    after: object | None = None


async def scrape(tallies=(), families=()):
    return b"".join([chunk async for chunk in render(tallies, families)]).decode()


def samples(text):
    """Sample lines by their name with labels."""
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def ours(text):
    return {name: value for name, value in samples(text).items() if name.startswith("ratelimit")}


async def test_a_limits_counters_have_upstreams_names_and_labels():
    """Dashboards for envoyproxy/ratelimit find every name, without ``_total``, under domain, key1 and key2."""
    labels = '{domain="basic",key1="path_/a",key2="method_GET"}'
    tally = Tally(("basic", "path_/a", "method_GET"), "", 6, 5, 4, 3, 2, 1)
    assert ours(await scrape([tally])) == {
        f"ratelimit_service_rate_limit_total_hits{labels}": 6,
        f"ratelimit_service_rate_limit_over_limit{labels}": 5,
        f"ratelimit_service_rate_limit_near_limit{labels}": 4,
        f"ratelimit_service_rate_limit_within_limit{labels}": 3,
        f"ratelimit_service_rate_limit_over_limit_with_local_cache{labels}": 2,
        f"ratelimit_service_rate_limit_shadow_mode{labels}": 1,
    }


async def test_a_counter_that_never_counted_is_absent():
    """As upstream's is, so a hundred thousand idle limits are not scraped."""
    assert ours(await scrape([Tally(("d", "k"), total_hits=1), Tally(("d", "idle"))])) == {
        'ratelimit_service_rate_limit_total_hits{domain="d",key1="k"}': 1
    }


@pytest.mark.parametrize(
    ("stat_key", "item", "expected"),
    [
        (("d", "a"), "", 'domain="d",key1="a"'),
        (("d", "a", "b", "c", "e"), "", 'domain="d",key1="a",key2="b",key3="c",key4="e"'),
        (("d", "a"), "hourly", 'domain="d",key1="a",limit="hourly"'),
        (("d",), "", 'domain="d"'),
    ],
)
def test_deeper_levels_and_several_limits_add_labels(stat_key, item, expected):
    """key3 and deeper, and ``limit``, come on top of upstream's labels."""
    assert limit_labels(stat_key, item) == expected


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "a\\nb", "ü/{},=", 'x"} 1\nup{a="'])
async def test_label_values_survive_the_round_trip(value):
    """No value of a request can break the text or pass for another sample."""
    text = await scrape([Tally(("d", value), total_hits=1)])
    found = [
        sample.labels["key1"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "total_hits" in sample.name
    ]
    assert found == [value]


async def test_bytes_that_are_no_utf8_stay_printable():
    """A lone surrogate, as bytes outside UTF-8 decode to, does not end the scrape."""
    text = await scrape([Tally(("d", "k_\udcff"), total_hits=1)])
    assert r'key1="k_\\udcff"' in text


async def test_each_family_is_one_block():
    """TYPE comes once for each name, and all samples of a name follow it together."""
    tallies = [Tally(("d", str(i)), "", 1, 1, 1, 1, 1, 1) for i in range(2 * SLICE + 1)]
    counters = Counters()
    counters.called("ShouldRateLimit", 0.001, 1)
    text = await scrape(tallies, service_families(counters, lambda: [("nope", 2)]))
    types = Counter(line.split()[2] for line in text.splitlines() if line.startswith("# TYPE "))
    assert set(types.values()) == {1}
    blocks = [line.split("{")[0] for line in text.splitlines() if line.startswith("ratelimit_service_rate_limit")]
    assert len([1 for a, b in pairwise(blocks) if a != b]) == len(set(blocks)) - 1
    assert types["ratelimit_service_rate_limit_total_hits"] == 1
    list(text_string_to_metric_families(text))


@pytest.mark.alone
@pytest.mark.scenario("the event loop is blocked")
async def test_a_scrape_of_100_000_limits_gives_way_between_bounded_chunks():
    """No chunk holds more than SLICE limits, and the loop turns at least once for each slice of each pass."""
    tallies = [Tally(("d", str(i)), "", 1, 1) for i in range(100_000)]
    with turning() as turns:
        chunks = [chunk async for chunk in render(tallies, ())]
    sizes = [sum(line.startswith(b"ratelimit_service_rate_limit_") for line in chunk.splitlines()) for chunk in chunks]
    assert sum(sizes) == 200_000
    assert max(sizes) == SLICE
    slices = 100_000 // SLICE
    assert turns.count >= slices * len(LIMIT_COUNTERS)


def long_series(number):
    """Series whose names are as long as a request may make them."""
    return [Tally(("d", *(f"{n}-{depth}".ljust(32, "x") for depth in range(8))), "", 1, 1) for n in range(number)]


async def test_a_scrape_of_long_series_gives_way_by_bytes():
    """Where names are long, a chunk ends after fewer limits: between two turns of the loop no more text is made."""
    tallies = long_series(10_000)
    with turning() as turns:
        sizes = [len(chunk) async for chunk in render(tallies, ())]
    line = max(len(f"{LIMIT_PREFIX}{counter}") for counter in LIMIT_COUNTERS) + len(tallies[0].label_text) + 5
    assert max(sizes) <= SLICE_BYTES + line
    assert turns.count >= sum(sizes) / (SLICE_BYTES + line)


@pytest.mark.alone
async def test_scrapes_that_are_not_read_hold_little():
    """Scrapes share the text of the labels: six that stopped in the middle hold a chunk each, and none has a copy."""

    async def middle():
        begun = render(tallies, ())
        for _ in range(20):
            chunk = await anext(begun)
        return begun, chunk

    tallies = long_series(5_000)
    text = sum([len(chunk) async for chunk in render(tallies, ())])
    tracemalloc.start()
    try:
        held = [await middle()]
        one, _ = tracemalloc.get_traced_memory()
        held += [await middle() for _ in range(5)]
        six, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for begun, _ in held:
        await begun.aclose()
    assert one <= 3 * SLICE_BYTES
    assert six <= 7 * one
    assert text > 6 * six


async def test_two_scrapes_at_once_see_the_same():
    """Reading resets nothing."""
    tallies = [Tally(("d", str(i)), total_hits=i) for i in range(1_000)]
    one, two = await asyncio.gather(scrape(tallies), scrape(tallies))
    assert ours(one) == ours(two)
    assert len(ours(one)) == 999


async def test_a_limit_that_comes_up_during_a_scrape_does_not_disturb_it():
    """It is in the next scrape."""
    tallies = [Tally(("d", "a"), total_hits=1)]
    text = b""
    async for chunk in render(tallies, ()):
        text += chunk
        tallies.append(Tally(("d", "b"), "", 1, 1, 1, 1, 1, 1))
    assert list(ours(text.decode())) == ['ratelimit_service_rate_limit_total_hits{domain="d",key1="a"}']


async def test_families_that_block_are_read_in_a_thread_at_the_end():
    """What reads files holds up neither the loop nor the rest of the text."""
    threads: list[int] = []

    def blocking():
        threads.append(threading.get_ident())
        return [single("last", "gauge", "Read in a thread.", lambda: 1)]

    text = b"".join([chunk async for chunk in render((), [single("first", "gauge", "Not.", lambda: 2)], blocking)])
    assert threads != [threading.get_ident()]
    assert list(samples(text.decode())) == ["first", "last"]


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (1.0, 0), (1.5, 1), (2.0, 1), (2.1, 2)])
def test_a_duration_falls_at_or_below_its_bound(seconds, bucket):
    """``le`` means less or equal; what is above all bounds is +Inf's."""
    histogram = Histogram((1.0, 2.0))
    histogram.observe(seconds)
    assert [index for index, count in enumerate(histogram.counts) if count] == [bucket]


@pytest.mark.parametrize("bounds", [RESPONSE_BUCKETS, STORE_BUCKETS, BATCH_BUCKETS, LATENCY_BUCKETS])
def test_le_is_written_as_upstream_writes_it(bounds):
    """``le="1"`` as Go's client has it, so that a selector of a dashboard for upstream hits; fractions as they are."""
    text = family_text(single("x", "histogram", "X.", lambda: Histogram(bounds)))
    written = [line.partition('le="')[2].partition('"')[0] for line in text.splitlines() if "_bucket" in line]
    assert written == [f"{bound:g}" for bound in bounds] + ["+Inf"]
    assert not [le for le in written if le.endswith(".0")]


def test_a_family_without_values_has_no_lines():
    """A TYPE without samples would promise something."""
    assert family_text(Family("ratelimitd_x", "gauge", "X.", ("a",), list)) == ""
    assert family_text(single("ratelimitd_x", "gauge", "X.", lambda: 1)).endswith("\nratelimitd_x 1\n")
