"""The lint: what is valid in a policy or gateway file and probably a mistake, such as a limit that no request meets.

``rules`` is the table of what it says; docs/lint.md has a section for each of its rows.
"""

from .check import lint, lint_pushed
from .rules import RULES, Rule
from .shared import in_one

__all__ = ["RULES", "Rule", "in_one", "lint", "lint_pushed"]
