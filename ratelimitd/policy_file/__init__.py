"""The parser of policy files: from files to the rows of a policy, or to every error with its line.

It is separate from ``policy``: a service parses its files in a child process, and imports no YAML parser itself.
"""

from .fields import KEY_PLACES, LEVELS, PLACES, TOP
from .overlay import Overlay, OverlayEntry, read_overlay, said_in_words
from .overlaying import Effect
from .parse import Content, Document, Origin, Parsed, examine, parse
from .tiers import Beside

__all__ = [
    "KEY_PLACES",
    "LEVELS",
    "PLACES",
    "TOP",
    "Beside",
    "Content",
    "Document",
    "Effect",
    "Origin",
    "Overlay",
    "OverlayEntry",
    "Parsed",
    "examine",
    "parse",
    "read_overlay",
    "said_in_words",
]
