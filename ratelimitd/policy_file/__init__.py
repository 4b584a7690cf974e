"""The parser of policy files: from files to the rows of a policy, or to every error with its line.

It is separate from ``policy``: a service parses its files in a child process, and imports no YAML parser itself.
"""

from .parse import Content, Parsed, examine, parse
from .tiers import Beside

__all__ = ["Beside", "Content", "Parsed", "examine", "parse"]
