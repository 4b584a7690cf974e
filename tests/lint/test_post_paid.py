"""What the lint says of limits whose costs come afterwards."""

import pytest

from tests.lint.linting import linted_text

BUDGET = "unit: month, requests_per_unit: 100000, algorithm: token_bucket"


@pytest.mark.parametrize(
    ("top", "more", "key"),
    [
        ("", ", charge: after", "'charge: after'"),
        ("default_charge: after\n", "", "'default_charge: after'"),
        ("", ", reserve: {}", "'reserve'"),
        ("default_charge: after\n", ", reserve: {}", "'reserve'"),
    ],
)
def test_a_budget_that_refills_is_named_by_the_key_that_the_file_has(top, more, key, tmp_path):
    """The one by which its costs come afterwards."""
    text = f"domain: d\n{top}descriptors:\n- {{key: k, rate_limit: {{{BUDGET}{more}}}}}\n"
    (warning,) = linted_text(tmp_path, text)
    assert (warning.rule, warning.message.partition(" on a ")[0]) == ("budget-refills", key)
