"""The loop's longest hold, with a real service in each activity."""

import pytest

from bench import loop
from bench.builds import INTERPRETED, Build

pytestmark = [pytest.mark.alone, pytest.mark.process, pytest.mark.redis]

SHORT = loop.Scale(repeats=1, seconds=0.2, many=100)


@pytest.mark.parametrize("activity", loop.ACTIVITIES, ids=lambda activity: activity.name)
def test_each_activity_has_a_longest_hold_and_the_latencies_of_its_calls(activity, where):
    """The hold is what the service exports: one number of all repeats."""
    found = loop._numbers(Build(INTERPRETED, "grpcio"), activity, SHORT, where)
    assert found["hold"]["least"] == found["hold"]["most"] >= 0
    assert 0 < found["p50"]["median"] <= found["p99"]["median"] <= found["worst"]["median"]
    assert found["calls"]["median"] > 0
    assert len(loop._row({"meanwhile": activity.name, "by": INTERPRETED, **found})) == len(loop.COLUMNS)


def test_redis_and_load_are_measured_away_from_the_core_of_the_service(where):
    """Full load is from memory and from Redis, and Redis has another core than the service."""
    assert {each.redis for each in loop.ACTIVITIES if each.load == loop.FULL} == {True, False}
    assert where.server not in {where.load, where.redis}
