"""Readers of YAML: values, and what is noted of wrong ones."""

import pytest

from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import (
    ListReader,
    MapReader,
    WrongValueError,
    any_text,
    as_it_is,
    flag,
    number,
    octets,
    parsed,
    scalar,
    seconds,
    share,
    size,
    text,
)
from ratelimitd.config.yaml_nodes import load_yaml
from tests.config.key_paths import key_paths

POINT = MapReader("a point", {"x": number(0, 9), "y": number(0, 9), "tags": ListReader(text, least=1)}, ("x", "y"))


def read(reader, written):
    """The value of a reader and the notes it made; of a wrong value the error is all."""
    notes = Notes()
    node = load_yaml(written.encode())
    assert node is not None
    try:
        value = reader(notes, node)
    except WrongValueError as wrong:
        assert not notes.errors
        return str(wrong)
    return value, [(error.line, error.message) for error in notes.errors]


@pytest.mark.parametrize(
    ("reader", "written", "value"),
    [
        (text, "010", "010"),
        (any_text, "''", ""),
        (octets, "é", "é".encode()),
        (flag, "yes", True),
        (number(0, 9), "0x9", 9),
        (share, "1", 1.0),
        (seconds, "1500ms", 1.5),
        (size, "8KiB", 8192),
        (parsed(int, "a number"), "'7'", 7),
        (ListReader(flag), "[on, n]", (True, False)),
        (POINT, "{x: 1, y: 2}", {"x": 1, "y": 2}),
    ],
)
def test_a_right_value_is_read_without_a_note(reader, written, value):
    """Whole, with the meaning that yaml.v2 gives it where it is no text."""
    assert read(reader, written) == (value, [])


@pytest.mark.parametrize(
    ("reader", "written", "wanted"),
    [
        (text, "''", "a text that is not empty"),
        (any_text, "[]", "a text"),
        (flag, "'true'", "true or false (without quotes)"),
        (flag, "{}", "true or false (without quotes)"),
        (number(0, 9), "'9'", "a whole number from 0 to 9 (without quotes)"),
        (number(0, 9), "10", "a whole number from 0 to 9 (without quotes)"),
        (number(0, 9), "true", "a whole number from 0 to 9 (without quotes)"),
        (number(0, 9), "[9]", "a whole number from 0 to 9, not a list"),
        (share, "0", "a number above 0, up to 1, such as 0.5"),
        (share, "true", "a number above 0, up to 1, such as 0.5"),
        (parsed(int, "a number"), "seven", "a number"),
        (ListReader(text), "a", "a list"),
        (ListReader(text, least=1), "[]", "a list that is not empty"),
        (lambda _notes, node: scalar(node, "a name"), "{}", "a name, not a map"),
    ],
)
def test_a_wrong_value_says_what_it_should_be(reader, written, wanted):
    """Not what it is, so that its reader can put the key before it."""
    assert read(reader, written) == wanted


def test_all_that_is_wrong_with_a_map_is_noted():
    """Each with its line; what is right is still read, and the map is not sound."""
    reader = MapReader("a point", POINT.keys, POINT.needed, lambda found: (found.fields, found.sound))
    written = "x: 1\ny: ten\n[a]: 1\ncolour: red\ntags: [a, '']\n"
    assert read(reader, written) == (
        ({"x": 1, "tags": ("a",)}, False),
        [
            (2, "'y' of a point must be a whole number from 0 to 9 (without quotes)"),
            (3, "unknown key '': a point has x, y, tags"),
            (4, "unknown key 'colour': a point has x, y, tags"),
            (5, "an item of this list must be a text that is not empty"),
        ],
    )


def test_a_key_that_is_needed_may_be_neither_absent_nor_null():
    """A wrong value is one error, not two."""
    assert read(POINT, "{x: ~, tags: ~}") == ({}, [(1, "a point needs 'x'"), (1, "a point needs 'y'")])
    assert [line for line, _ in read(POINT, "{x: 1, y: ten}")[1]] == [1]


def test_the_last_of_equal_keys_counts_that_can_be_read():
    """The others are still checked."""
    assert read(POINT, "{x: 1, x: 2, y: 3, y: ten}") == (
        {"x": 2, "y": 3},
        [(1, "'y' of a point must be a whole number from 0 to 9 (without quotes)")],
    )


def test_what_is_no_map_is_one_error():
    """With the keys there are, and without those that are needed."""
    assert read(POINT, "[1, 2]") == ({}, [(1, "a point must be a map with x, y, tags")])


def test_only_one_of_some_keys_may_be_there():
    """Which it is, is returned."""
    reader = MapReader("a place", {"x": text, "y": text}, make=lambda found: found.only_one("x", "y"))
    assert read(reader, "{y: a}") == ("y", [])
    assert read(reader, "{}") == (None, [])
    assert read(reader, "{x: a, y: b}") == ("x", [(1, "a place has only one of x, y")])


def test_a_map_of_secrets_repeats_no_key_and_may_hold_null():
    """What stands in the wrong place may be the secret itself."""
    reader = MapReader("keys", {"tiers": any_text}, null_is_absent=False, quoted=False)
    assert read(reader, "{s3cret: 1, tiers: ~}") == ({"tiers": "~"}, [(1, "unknown key in keys: it has tiers")])


def test_the_keys_of_a_reader_can_be_enumerated():
    """Through lists and maps, so that a test or a page can be held against the parser."""
    reader = MapReader("a shape", {"points": ListReader(POINT), "metadata": as_it_is})
    assert [".".join(path) for path in key_paths(reader)] == [
        *("points", "points.x", "points.y", "points.tags"),
        "metadata",
    ]
