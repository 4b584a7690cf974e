"""What a name becomes by a mapping file: statsd_exporter's rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.mapper import Matcher, read_mapper
from ratelimitd.mapper.matching import escaped


def matcher(text):
    return Matcher(read_mapper("m.yaml", f"mappings:\n{text}".encode()))


def found(text, name, kind="counter"):
    """The new name with its labels, None for one that is dropped."""
    mapped = matcher(text).find(name, kind)
    return None if mapped is None else (mapped.name, dict(mapped.labels))


@pytest.mark.parametrize(
    ("match", "name", "labels"),
    [
        ("a.*.c", "a.b.c", {"first": "b", "other": ""}),
        ("a.*.c", "a..c", {"first": "", "other": ""}),
        ("a.*.*", "a.b.c-d", {"first": "b", "other": "c-d"}),
        ("*.b.*", "x.b.y", {"first": "x", "other": "y"}),
        ("a.*.c", "a.b.c.d", None),
        ("a.*.c", "a.b.d", None),
        ("a.*", "b.a.c", None),
    ],
)
def test_a_star_of_a_glob_is_one_part(match, name, labels):
    """Between dots, an empty one too; a reference to a star that there is not is empty."""
    given = found(f"  - {{match: '{match}', name: mapped, labels: {{first: $1, other: '${{2}}'}}}}", name)
    assert given == (("mapped", labels) if labels is not None else (escaped(name), {}))


def test_the_first_glob_that_matches_applies():
    """Also if a later one has more parts in common, and if the search meets it first."""
    rules = "  - {match: '*.b.c', name: first}\n  - {match: a.b.c, name: second}\n  - {match: a.*.d, name: third}"
    assert found(rules, "a.b.c") == ("first", {})
    assert found(rules, "a.b.d") == ("third", {})


def test_globs_are_tried_before_regular_expressions():
    """Wherever they stand in the file; expressions in their order, anywhere in the name."""
    rules = """
  - {match: '.', match_type: regex, action: drop, name: dropped}
  - {match: b, match_type: regex, name: never}
  - {match: a.b, name: globbed}"""
    assert found(rules, "a.b") == ("globbed", {})
    assert found(rules, "b.b") is None


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("$1", "b"),
        ("${1}x", "bx"),
        ("$1x", ""),
        ("$last", "c"),
        ("${last}-$$", "c-$"),
        ("$7", ""),
        ("$0", "a.b.c"),
        ("$", "$"),
        ("$3", ""),
    ],
)
def test_references_of_an_expression_are_gos(template, value):
    """A name is as long as it can be; what is no group, or took no part, is empty."""
    rule = rf"  - {{match: 'a\.(b)\.(?P<last>c)(d)?', match_type: regex, name: n, labels: {{label: '{template}'}}}}"
    assert found(rule, "a.b.c") == ("n", {"label": value})


def test_a_kind_of_metric_selects():
    """match_metric_type: of two mappings of one name each has its own; timer is another word for observer."""
    rules = """
  - {match: a.b, match_metric_type: timer, name: timed}
  - {match: a.b, match_metric_type: counter, name: counted}
  - {match: a, match_type: regex, match_metric_type: gauge, name: gauged}"""
    assert [found(rules, "a.b", kind)[0] for kind in ("observer", "counter", "gauge")] == ["timed", "counted", "gauged"]


def test_a_name_may_have_references():
    """It is made fit for Prometheus; one that comes out empty is not exposed."""
    rules = r"  - {match: '^a\.(.*)$', match_type: regex, name: '${1}'}"
    assert found(rules, "a.9-b--c.d") == ("_9_b_c_d", {})
    assert found(rules, "a.") is None


@pytest.mark.parametrize(
    ("name", "made"),
    [("ratelimit.redis_pool.cx_active", "ratelimit_redis_pool_cx_active"), ("a--b-c", "a_b_c"), ("0é", "_0_")],
)
def test_what_no_mapping_matches_keeps_its_name(name, made):
    """With an underscore for what Prometheus does not take, and no labels."""
    assert found("  - {match: x.y, name: z}", name) == (made, {})


@given(st.text(max_size=40))
def test_every_name_becomes_one_of_prometheus(name):
    """Whatever a request put into it."""
    made = escaped(name)
    assert made.isascii()
    assert not made or (made.replace("_", "a").isalnum() and not made[0].isdigit())
