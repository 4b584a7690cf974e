"""WHAT is limited: the policy file, its values, and how a request finds its limits."""

from .errors import PolicyError, PolicyErrors
from .match import match
from .model import (
    UNIT_SECONDS,
    Descriptor,
    Domain,
    Entry,
    Limit,
    Match,
    Node,
    OnStoreFailure,
    Policy,
    Unit,
)
from .parse import Parsed, Summary, examine, parse
from .rows import Assembly, Slice, assemble, slices

__all__ = [
    "UNIT_SECONDS",
    "Assembly",
    "Descriptor",
    "Domain",
    "Entry",
    "Limit",
    "Match",
    "Node",
    "OnStoreFailure",
    "Parsed",
    "Policy",
    "PolicyError",
    "PolicyErrors",
    "Slice",
    "Summary",
    "Unit",
    "assemble",
    "examine",
    "match",
    "parse",
    "slices",
]
