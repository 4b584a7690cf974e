"""The policy: domains, descriptors and limits as values, and how a request is matched to its limits."""

from ratelimitd.config.problems import PolicyError, PolicyErrors

from .comparison import Change, ChangeKind, changes
from .counter_names import FixedWindowKeys, with_keys
from .explaining import EXAMINED, Ended, Explanation, Step, Took, explain
from .identity import UNSALTED, Identified, identify, network_of
from .matching import find, match, pinned
from .model import (
    UNIT_SECONDS,
    UPSTREAM_ALGORITHM,
    Descriptor,
    DescriptorNode,
    Domain,
    Entry,
    Identity,
    Limit,
    Match,
    OnStoreFailure,
    Policy,
    Unit,
)
from .paths import is_override, place_of, rule_name
from .rows import (
    DETAILED_METRIC,
    SHARE_THRESHOLD,
    SLICE_ROWS,
    VALUE_TO_METRIC,
    Assembly,
    DomainRow,
    KeysRow,
    NodeRow,
    PolicySummary,
    Row,
    Slice,
    assemble,
    keys_rows,
    slices,
)
from .sharing import domains_that_share, shared_counters
from .wildcards import STAR

__all__ = [
    "DETAILED_METRIC",
    "EXAMINED",
    "SHARE_THRESHOLD",
    "SLICE_ROWS",
    "STAR",
    "UNIT_SECONDS",
    "UNSALTED",
    "UPSTREAM_ALGORITHM",
    "VALUE_TO_METRIC",
    "Assembly",
    "Change",
    "ChangeKind",
    "Descriptor",
    "DescriptorNode",
    "Domain",
    "DomainRow",
    "Ended",
    "Entry",
    "Explanation",
    "FixedWindowKeys",
    "Identified",
    "Identity",
    "KeysRow",
    "Limit",
    "Match",
    "NodeRow",
    "OnStoreFailure",
    "Policy",
    "PolicyError",
    "PolicyErrors",
    "PolicySummary",
    "Row",
    "Slice",
    "Step",
    "Took",
    "Unit",
    "assemble",
    "changes",
    "domains_that_share",
    "explain",
    "find",
    "identify",
    "is_override",
    "keys_rows",
    "match",
    "network_of",
    "pinned",
    "place_of",
    "rule_name",
    "shared_counters",
    "slices",
    "with_keys",
]
