"""WHAT is limited: the policy file, its values, and how a request finds its limits."""

from ratelimitd.config.problems import PolicyError, PolicyErrors

from .identity import UNSALTED, Identified, identify, recounted
from .match import match
from .model import (
    UNIT_SECONDS,
    UPSTREAM_ALGORITHM,
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
from .rows import SLICE_ROWS, Assembly, DomainRow, KeysRow, NodeRow, Row, Slice, assemble, slices
from .tiers import Beside

__all__ = [
    "SLICE_ROWS",
    "UNIT_SECONDS",
    "UNSALTED",
    "UPSTREAM_ALGORITHM",
    "Assembly",
    "Beside",
    "Content",
    "Descriptor",
    "Domain",
    "DomainRow",
    "Entry",
    "Identified",
    "Identity",
    "KeysRow",
    "Limit",
    "Match",
    "Node",
    "NodeRow",
    "OnStoreFailure",
    "Parsed",
    "Policy",
    "PolicyError",
    "PolicyErrors",
    "Row",
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
