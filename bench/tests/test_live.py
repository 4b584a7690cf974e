"""The cost of the live view, with a real service."""

from collections import Counter

import pytest

from bench import live
from bench.policy import policy
from ratelimitd.policy_file import parse
from testkit import server
from testkit.errors import BenchError

SHORT = live.Scale(
    repeats=2, seconds=0.2, warm=0.1, limits=20, keys=100, calls=500, pages=3, documents=1
)  # fmt: skip


def test_calls_are_skewed_and_repeatable():
    """The first user has twice the calls of the second; equal scales have equal calls."""
    calls = live.skewed(live.QUICK)
    (_, first), (_, second), *others = Counter(calls).most_common()
    assert first == pytest.approx(2 * second, rel=0.2)
    assert len(others) > len(calls) / 10
    assert live.skewed(live.QUICK) == calls


def test_the_policy_has_as_many_limits_as_the_note_says():
    """Besides those of each descriptor."""
    parsed = parse([("p.yaml", policy(SHORT.limits, descriptors=live.DESCRIPTORS).encode())])
    assert sum(len(node.limits) for node in parsed.nodes) == SHORT.limits + live.DESCRIPTORS


@pytest.mark.alone
@pytest.mark.process
@pytest.mark.redis
def test_each_number_is_measured(where):
    """With it and without, in both stores, with pages and for each document."""
    found = live.measure(SHORT, "command")
    numbers = [row[0] for row in found.rows]
    for words in ("CPU µs of a call, memory", "CPU µs of a call, Redis", "resident MiB, memory", "3 open pages"):
        (row,) = [row for row in found.rows if words in row[0]]
        assert all(row)
    assert sum(number.startswith("CPU ms of /live/") for number in numbers) == 4
    assert {len(row) for row in found.rows} == {len(live.COLUMNS)}


@pytest.mark.process
def test_a_page_that_cannot_be_opened_is_an_error(where):
    """Without the live view no page has events, and nothing is measured."""
    with server.service("grpcio", policy(), where.server, {"LIVE_MAX_BYTES": "0"}) as off:
        with pytest.raises(BenchError, match="404"), live.opened(off, 1, where):
            raise AssertionError
