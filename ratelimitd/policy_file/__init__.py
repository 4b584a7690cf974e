"""The policy file: its keys and values, and the rows that a policy is assembled from, or every error with its line.

A room apart from the policy itself: a service reads its files in a child process and needs no YAML of its own.
"""

from .parse import Content, Parsed, examine, parse
from .tiers import Beside

__all__ = ["Beside", "Content", "Parsed", "examine", "parse"]
