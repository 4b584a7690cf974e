"""Mapping files: what each key does, and that an error has its line."""

import pytest

from ratelimitd.config.problems import PolicyErrors
from ratelimitd.mapper import Matcher, read_mapper
from ratelimitd.mapper.model import DEFAULT_BUCKETS, Mapping

from .files import DEFAULT, GATEWAY


def read(text):
    return read_mapper("m.yaml", text.encode())


def errors(text):
    with pytest.raises(PolicyErrors) as caught:
        read(text)
    return [str(error) for error in caught.value.errors]


def test_every_key_is_read():
    """A mapping has what it says."""
    text = """
mappings:
  - match: a.*
    name: n
    labels: {b2: $1, a1: x}
    action: drop
    match_metric_type: gauge
    observer_type: histogram
    histogram_options: {buckets: [1, 2.5]}
    scale: 0.5
    help: |
      Two
      words.
    honor_labels: true
    ttl: 1m
    quantiles: []
    summary_options: {}
"""
    assert read(text).mappings == (
        Mapping("a.*", "n", True, (("a1", "x"), ("b2", "$1")), True, "gauge", True, (1.0, 2.5), 0.5, "Two words."),
    )


def test_defaults_are_of_mappings_that_say_nothing():
    """match_type, buckets and the kind of timers; also for what no mapping matches."""
    text = """
defaults: {match_type: regex, timer_type: histogram, buckets: [1, 2], glob_disable_ordering: true}
mappings:
  - {match: (a), name: n}
  - {match: b.c, match_type: glob, name: n, timer_type: summary, buckets: [3]}
"""
    file = read(text)
    assert [(each.glob, each.histogram, each.buckets) for each in file.mappings] == [
        (False, True, (1.0, 2.0)),
        (True, False, (3.0,)),
    ]
    assert (file.unmapped.histogram, file.unmapped.buckets) == (True, (1.0, 2.0))
    assert read("mappings: []").unmapped == Mapping("", "", buckets=DEFAULT_BUCKETS)


def test_known_files_are_valid():
    """Envoy Gateway's, and upstream's own."""
    assert (len(read(GATEWAY).mappings), len(read(DEFAULT).mappings)) == (15, 15)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "m.yaml: empty; write 'mappings:' and a list"),
        ("mappings: [", "m.yaml: not valid YAML"),
        ("mappings: 1", "'mappings' of a mapping file must be a list (line 1)"),
        ("mapping: []", "unknown key 'mapping': a mapping file has defaults, mappings; did you mean 'mappings'?"),
        ("mappings:\n  - {name: n}", "a mapping needs 'match' (line 2)"),
        ("mappings:\n  - {match: a, action: drop}", "a mapping needs 'name' (line 2)"),
        ("mappings:\n  - {match: a.b*, name: n}", "which is no glob; * stands for a whole part between dots (line 2)"),
        ("mappings:\n  - {match: (, match_type: regex, name: n}", "which is not valid in RE2: missing )"),
        ("mappings:\n  - {match: a, name: a-b}", "has the name 'a-b'; write letters, digits, underscores"),
        ("mappings:\n  - {match: a, name: n, labels: {x: y}}", "'x' is no label; write two or more"),
        ("mappings:\n  - {match: a, name: n, labels: {xx: [y]}}", "the value of label 'xx' must be a text"),
        ("mappings:\n  - {match: a, name: n, labels: [xx]}", "'labels' of a mapping must be a map of labels"),
        ("mappings:\n  - {match: a, name: n, action: keep}", "'action' of a mapping must be map or drop"),
        ("mappings:\n  - {match: a, name: n, scale: x}", "'scale' of a mapping must be a number"),
        ("mappings:\n  - {match: a, name: n, buckets: [2, 1]}", "each larger than the one before it"),
        ("mappings:\n  - {match: a, name: n, lables: {}}", "did you mean 'labels'?"),
    ],
)
def test_an_error_says_where_it_is(text, error):
    """And what to write instead."""
    (found,) = errors(text)
    assert error in found


def test_expressions_are_bounded_together():
    """RE2 takes each of these, and not all of them in one pass over a name; nothing later is in doubt about it."""
    mapping = "  - {match: 'd%d.{0,900}over', match_type: regex, name: n}\n"
    (found,) = errors("mappings:\n" + "".join([mapping % number for number in range(80)]))
    assert "too large together for RE2" in found
    assert len(Matcher(read(f"mappings:\n{mapping % 1}"))._regexes) == 1


def test_a_name_is_read_in_one_way():
    """A digit after a reference is a part of it. Read in two ways, 60 references would be read in 2**60."""
    (found,) = errors(f"mappings:\n  - {{match: a, name: {'$11' * 60}-}}")
    assert "write letters, digits, underscores" in found


def test_all_errors_are_told_at_once():
    """With their lines."""
    found = errors("mappings:\n  - {match: a}\n  - {match: b, name: n, action: x}\n")
    assert [error.rpartition("(")[2] for error in found] == ["line 2)", "line 3)"]
