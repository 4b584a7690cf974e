"""WHAT is limited: the policy file, its values, and how a request finds its limits."""

from ratelimitd.config.problems import PolicyError, PolicyErrors

from .identity import UNSALTED, Identified, identify, recounted
from .match import match
from .model import (
    UNIT_SECONDS,
    Descriptor,
    Domain,
    Entry,
    Identity,
    Limit,
    Match,
    Node,
    OnStoreFailure,
    Policy,
    Unit,
)
from .parse import Content, Parsed, Summary, examine, parse
from .rows import Assembly, Slice, assemble, slices
from .tiers import Beside

__all__ = [
    "UNIT_SECONDS",
    "UNSALTED",
    "Assembly",
    "Beside",
    "Content",
    "Descriptor",
    "Domain",
    "Entry",
    "Identified",
    "Identity",
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
    "identify",
    "match",
    "parse",
    "recounted",
    "slices",
]
