"""Medians, ratios and tables."""

import pytest

from bench.measure import Spread, digits, ratio, spread, spreads, thousands
from bench.report import Report, markdown
from testkit.page import replaced


def test_spread_is_the_median_and_the_ends():
    """An outlier changes the range and not the median."""
    assert spread([5.0, 1.0, 900.0]) == Spread(5.0, 1.0, 900.0)


def test_nothing_measured_has_no_spread():
    """An empty measurement has no median."""
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])
    assert spreads([]) == {}


def test_spreads_are_of_each_number_by_itself():
    """Each number has its own spread."""
    assert spreads([{"a": 1.0, "b": 9.0}, {"a": 3.0, "b": 7.0}]) == {
        "a": Spread(2.0, 1.0, 3.0),
        "b": Spread(8.0, 7.0, 9.0),
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"), [(90.0, 6.0, 15.0), (None, 6.0, None), (90.0, None, None), (90.0, 0.0, None)]
)
def test_a_ratio_is_of_two_measured_numbers(ours, theirs, expected):
    """There is no ratio if either number was not measured."""
    assert ratio(ours, theirs) == expected


def test_a_spread_is_shown_with_its_ends_unless_they_look_alike():
    """A range whose ends look equal is omitted."""
    assert Spread(112_345.0, 99_912.0, 113_000.0).show(thousands) == "112,300 (99,900-113,000)"
    assert Spread(5.0, 5.0, 5.0).show(digits) == "5.00"


@pytest.mark.parametrize(("value", "text"), [(0.456, "0.46"), (9.99, "9.99"), (45.67, "45.7"), (1234.5, "1,234")])
def test_numbers_have_three_digits(value, text):
    """Numbers have no more digits than a repetition would reproduce."""
    assert digits(value) == text


def test_a_page_takes_the_table_in_its_place_and_keeps_the_rest():
    """A run replaces only its own table."""
    page = "before\n<!-- rls -->\nold\n<!-- end rls -->\nafter\n"
    assert replaced(page, "rls", "new\n") == "before\n<!-- rls -->\nnew\n<!-- end rls -->\nafter\n"
    with pytest.raises(ValueError, match="no single place"):
        replaced(page, "loop", "new\n")


@pytest.mark.alone
@pytest.mark.redis
@pytest.mark.process
def test_a_table_in_markdown_has_its_command_and_machine():
    """Every table has the command that reproduces it, and the machine."""
    text = markdown(Report("p", "t", ("case", "n"), [("one | two", "1")], ("a note",), [], "python -m bench p"))
    assert text.startswith("| case | n |\n| --- | ---: |\n| one  two | 1 |\n\n- a note\n")
    assert "`python -m bench p` on " in text
    assert " cores of " in text
