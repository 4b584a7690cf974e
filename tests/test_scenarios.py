"""The failure scenarios: each has a test, and docs/reliability.md lists the tests of each."""

import pytest

from testkit.page import replaced
from tests.collected import collected
from tests.scenarios import PAGE, PART, SCENARIOS, files, table

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_has_a_test(scenario):
    """At least one test has the scenario's marker."""
    assert files(scenario, collected())


def test_a_marker_names_a_scenario_of_the_list():
    """A misspelled marker is an error instead of a test that the table lacks."""
    assert frozenset().union(*collected().values()) <= set(SCENARIOS)


def test_the_page_has_the_table():
    """``python -m tests.scenarios`` writes it."""
    page = PAGE.read_text()
    assert page == replaced(page, PART, table(collected()))
