"""The live view: which limits and which callers are busy, and the documents that tell it. Pure."""

from .merging import KINDS, arranged, merged
from .shapes import fault

__all__ = ["KINDS", "arranged", "fault", "merged"]
