"""Each scenario has its tests, they exist, and docs/reliability.md says which they are."""

import pytest

from testkit.page import replaced
from tests.collected import collected
from tests.faults.rows import PAGE, PART, ROWS, held, listed, table

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_all_rows_but_the_proxys_are_there() -> None:
    """1 to 42; 39 is about the bytes of a proxy."""
    assert list(ROWS) == [number for number in range(1, 43) if number != 39]


@pytest.mark.parametrize("number", ROWS)
def test_a_row_is_held(number: int) -> None:
    """By one test at least, and by every one that it lists."""
    assert held(number, collected())
    assert set(listed(ROWS[number])) <= collected()


def test_a_number_in_a_name_is_of_a_row() -> None:
    """So that no test is for a row that is not there."""
    numbers = {test.partition("row_")[2][:2] for test in collected() if "_row_" in test.partition("::")[2]}
    assert {number for number in numbers if number.isdigit()} <= {f"{number:02}" for number in ROWS}


def test_the_page_has_the_table() -> None:
    """``python -m tests.faults.rows`` writes it."""
    page = PAGE.read_text()
    assert page == replaced(page, PART, table(collected()))
