"""WHAT is limited: domains, descriptors and limits as values, and how a request finds its limits."""

from ratelimitd.config.problems import PolicyError, PolicyErrors

from .identity import UNSALTED, Identified, identify, recounted
from .matching import match
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
from .rows import (
    DETAILED_METRIC,
    SHARE_THRESHOLD,
    SLICE_ROWS,
    VALUE_TO_METRIC,
    Assembly,
    DomainRow,
    KeysRow,
    NodeRow,
    Row,
    Slice,
    Summary,
    assemble,
    keys_rows,
    slices,
)
from .wildcards import STAR

__all__ = [
    "DETAILED_METRIC",
    "SHARE_THRESHOLD",
    "SLICE_ROWS",
    "STAR",
    "UNIT_SECONDS",
    "UNSALTED",
    "UPSTREAM_ALGORITHM",
    "VALUE_TO_METRIC",
    "Assembly",
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
    "Policy",
    "PolicyError",
    "PolicyErrors",
    "Row",
    "Slice",
    "Summary",
    "Unit",
    "assemble",
    "identify",
    "keys_rows",
    "match",
    "recounted",
    "slices",
]
