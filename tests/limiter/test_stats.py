"""Tallies: how a charge is split, and how many names requests may make."""

import asyncio
import tracemalloc

import pytest

from ratelimitd.limiter import Tallies, Tally
from ratelimitd.limiter.stats import NAME_BYTES, NAME_MAX, TALLY_BYTES, count, name_bytes, near_limit
from ratelimitd.observe.metrics import LIMIT_COUNTERS, render


@pytest.mark.parametrize(
    ("limit", "cost", "after", "over", "near", "within"),
    [
        (15, 1, 11, 0, 0, 1),
        (15, 1, 13, 0, 1, 1),
        (15, 1, 16, 1, 0, 0),
        (20, 3, 5, 0, 0, 3),
        (8, 2, 7, 0, 1, 2),
        (20, 3, 19, 0, 3, 3),
        (20, 3, 22, 2, 1, 0),
        (20, 7, 22, 2, 4, 0),
        (10, 3, 30, 3, 0, 0),
    ],
)
def test_a_charge_is_split_as_upstream_splits_it(limit, cost, after, over, near, within):
    """Upstream's own vectors for the near-limit split hold with its default ratio of 0.8."""
    tally = Tally(("d", "k"), "")
    count(tally, limit, near_limit(limit, 0.8), after - cost, cost, shadow=False)
    assert (over, near, within) == (tally.over_limit, tally.near_limit, tally.within_limit)


def test_the_over_part_of_a_shadow_limit_is_counted_twice():
    """What a shadow limit would have denied is in over_limit and in shadow_mode."""
    tally = Tally(("d", "k"), "")
    count(tally, 10, 8, 9, 3, shadow=True)
    assert (tally.over_limit, tally.shadow_mode) == (2, 2)


def test_near_limit_is_single_precision():
    """floor(float32(100) * float32(0.29)) is 29, as upstream has it; in double precision it would be 28."""
    assert near_limit(100, 0.29) == 29


@pytest.mark.scenario("a caller that invents metric series")
def test_series_made_by_requests_are_capped():
    """Past the cap the tallies that values of requests would make are one, named other; configured ones go on."""
    tallies = Tallies(request_made=2)
    made = [tallies.of(("d", f"k_{n}"), "", from_request=True) for n in range(10)]
    configured = tallies.of(("d", "fixed"), "", from_request=False)
    assert {tally.stat_key for tally in made[2:]} == {("d", "other")}
    assert configured.stat_key == ("d", "fixed")
    assert made[0] is tallies.of(("d", "k_0"), "", from_request=True)
    assert len(tallies) == 4


def test_a_long_name_from_a_request_has_no_series_of_its_own():
    """Values have any length, so a name longer than 256 characters counts as ``other``, whatever its source."""
    tallies = Tallies()
    assert tallies.of(("d", "k_" + "x" * 300), "", from_request=True).stat_key == ("d", "other")
    assert tallies.of(("d", "k" * 300), "", from_request=False).stat_key == ("d", "k" * 300)
    tallies.unknown_domain("x" * 300, 1)
    assert tallies.unknown_domains() == [("other", 1)]


@pytest.mark.scenario("a caller that invents metric series")
def test_the_parts_of_a_name_from_a_request_are_bounded_together():
    """32 entries of 256 characters are one name of 8 KiB, which has no series of its own; one of 256 in all has."""
    tallies = Tallies()
    long = ("d", *("k" * NAME_MAX for _ in range(32)))
    fits = ("d", *("k" * 8 for _ in range(31)), "k" * (NAME_MAX - 1 - 31 * 8))
    assert tallies.of(long, "", from_request=True).stat_key == ("d", "other")
    assert tallies.of(fits, "", from_request=True).stat_key == fits
    assert tallies.of((*fits, "k"), "", from_request=True).stat_key == ("d", "other")
    assert tallies.of(long, "", from_request=False).stat_key == long


@pytest.mark.scenario("a caller that invents metric series")
def test_names_from_requests_are_bounded_in_bytes():
    """Names of many parts take several times the bytes of usual ones, so fewer of them have a series."""
    tallies, usual = Tallies(request_made=100), Tallies(request_made=100)
    for number in range(200):
        tallies.of(("d", *(f"k{depth}_{number}" for depth in range(32))), "", from_request=True)
        usual.of(("domain", f"path_/a{number}", "method_GET"), "", from_request=True)
    made = [tally for tally in tallies if tally.stat_key != ("d", "other")]
    assert sum(name_bytes(tally.stat_key) for tally in made) <= 100 * NAME_BYTES
    assert 10 <= len(made) < 20
    assert len(usual) == 101


NAMES = {
    "usual": lambda number: ("domain", f"path_/a{number}", f"method_GET{number}"),
    "many parts": lambda number: ("d", *(f"k{depth}_{number}" for depth in range(32))),
    "escaped": lambda number: ("d", '"' * 240 + str(number)),
    "wide": lambda number: ("d", "\U0001f600" * 240 + str(number)),
    "32 x 256": lambda number: ("d", *(f"{number}-{depth}".ljust(256, "x") for depth in range(32))),
}
"""Names that a caller may make, each by a number."""


@pytest.mark.alone
@pytest.mark.scenario("a caller that invents metric series")
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_ten_thousand_overrides_take_no_more_than_series_are_counted_as(name):
    """Whatever names 10,000 requests with overrides make, tallies and the text of their labels are within the bound."""

    async def scrape(tallies):
        return sum([len(chunk) async for chunk in render(tallies, ())])

    tallies = Tallies()
    tracemalloc.start()
    try:
        for number in range(10_000):
            tally = tallies.of(name(number), "", from_request=True)
            for counter in LIMIT_COUNTERS:
                setattr(tally, counter, getattr(tally, counter) + 1_000)
        text = asyncio.run(scrape(tallies))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= 10_000 * (NAME_BYTES + TALLY_BYTES)
    assert text <= 32 << 20  # most of it a few names again and again; at 8 KiB a name it was 163 MB


@pytest.mark.scenario("a caller that invents metric series")
def test_unknown_domains_are_capped_and_told_once():
    """Only the first request for each of a hundred unknown domains is news; the rest count under other."""
    tallies = Tallies()
    assert tallies.unknown_domain("a", 2)
    assert not tallies.unknown_domain("a", 3)
    news = [tallies.unknown_domain(f"d{n}", 1) for n in range(200)]
    counted = dict(tallies.unknown_domains())
    assert counted["a"] == 5
    assert sum(news) == 99
    assert counted["other"] == 101
    assert len(counted) == 101
