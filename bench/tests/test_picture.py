"""The charts: nothing of one covers another part of it, or leaves the picture."""

from itertools import combinations

import pytest

from bench import picture
from bench.report import Report

NUMBERS = ("rate", "cpu", "alone_p50", "service_cpu", "p50", "p99", "hold", "worst")
NAMES = ("ratelimitd", "interpreted", "grpcio", "go", "limitador", "limitador-traced")
TITLE = "RLS: one core, 8 connections with 16 concurrent calls each, then one call at a time"


def _chart(part, names):
    measured = {number: {"median": 0.0123} for number in NUMBERS}
    group = {"loop": "meanwhile"}.get(part, "case")
    cases = ("memory, 100,000 rules, 100,000 keys", "Redis cluster of 3, 3 descriptors, 100,000 keys")
    data = [{group: case, "by": name, **measured} for case in cases for name in names]
    return picture.chart(Report(part, TITLE, (), (), (), data, ""))


@pytest.mark.parametrize("part", ["rls", "envoy", "proxy", "loop"])
@pytest.mark.parametrize(
    "names",
    [NAMES[:1], NAMES, (*NAMES, *(f"a peer with a long name, number {number}" for number in range(6)))],
    ids=["one", "the largest", "twice as many"],
)
def test_the_title_the_legend_and_the_charts_cover_nothing(part, names):
    """Whatever number of services is compared, each has its place inside of the picture."""
    figure = _chart(part, names)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    texts = [legend.get_title(), *legend.get_texts(), *(axes.title for axes in figure.axes)]
    texts += [*figure.axes[0].get_yticklabels(), *(axes._left_title for axes in figure.axes)]
    boxes = [each.get_window_extent() for each in (*texts, *figure.axes) if getattr(each, "_text", "a")]
    assert [each.get_text() for each in legend.get_texts()] == list(names)
    assert not [(one, other) for one, other in combinations(boxes, 2) if one.overlaps(other)]
    whole = figure.bbox
    assert all(whole.x0 <= each.x0 and each.x1 <= whole.x1 and each.y1 <= whole.y1 for each in boxes)


@pytest.mark.parametrize("names", [NAMES, ("nginx", "no limits", "limits", "in Redis", "go gateway", "caddy")])
def test_each_service_has_a_colour_of_its_own(names):
    """Also where none of them is a build of ours."""
    (legend,) = _chart("proxy", names).legends
    assert len({each.get_facecolor() for each in legend.get_patches()}) == len(names)


def test_a_chart_without_names_has_a_title_alone():
    """The algorithms are compared with each other, not with services."""
    figure = _chart("rls", [""])
    assert not figure.legends
    assert figure.get_suptitle() == TITLE
