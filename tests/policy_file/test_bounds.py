"""What a policy may not hold, since every request would pay for it."""

import pytest

from ratelimitd.policy import PolicyErrors, slices
from ratelimitd.policy.rows import SLICE_ROWS
from ratelimitd.policy_file import examine, parse
from ratelimitd.policy_file.limits import LIMITS_MAX
from ratelimitd.policy_file.metadata import METADATA_MAX
from ratelimitd.policy_file.parse import SAME_ENDS_MAX


def several(count):
    limits = "\n".join(f"      - {{name: n{n}, unit: hour, requests_per_unit: 5}}" for n in range(count))
    return f"domain: d\ndescriptors:\n  - key: k\n    rate_limits:\n{limits}\n"


def alike(count):
    wildcards = "\n".join(f'  - {{key: path, value: "/*/t{n}/*"}}' for n in range(count))
    return f"domain: d\ndescriptors:\n{wildcards}\n"


def nested(count):
    return f"domain: d\ndescriptors:\n  - {{key: k, metadata: {'{a: ' * count}1{'}' * count}}}\n"


def listed(count):
    return f"domain: d\ndescriptors:\n  - {{key: k, metadata: {{a: {'[' * count}1{']' * count}}}}}\n"


def described(size):
    return f"domain: d\ndescriptors:\n  - {{key: k, metadata: {{a: {'x' * size}}}}}\n"


@pytest.mark.parametrize(
    ("text", "bound", "says"),
    [
        (several, LIMITS_MAX, "limits on one descriptor, at most 16 are allowed"),
        (alike, SAME_ENDS_MAX, "more than 1000 wildcards at this level begin with 'path_/' and end with ''"),
        (nested, 32, "nested deeper than Envoy accepts"),
        (listed, 47, "nested deeper than Envoy accepts"),
        (described, METADATA_MAX - 20, "'metadata' has more than 65536 characters"),
    ],
)
def test_a_bound_is_allowed_and_one_more_is_an_error(text, bound, says):
    """Up to the bound a policy is valid; beyond it, an error names the bound."""
    parse([("p.yaml", text(bound).encode())])
    with pytest.raises(PolicyErrors, match=says) as caught:
        parse([("p.yaml", text(bound + 40).encode())])
    assert len(caught.value.errors) == 1


def test_slices_are_weighed_in_limits():
    """A descriptor with many limits weighs as many rows, or a slice of such would hold the loop."""
    text = several(10).split("\n", 2)[2].replace("key: k", "key: k{n}")
    policy = "domain: d\ndescriptors:\n" + "".join(text.replace("{n}", str(n)) for n in range(100))
    parsed = examine([("p.yaml", policy.encode())])
    assert not parsed.errors
    assert max(sum(len(group) for group in piece.groups) for piece in slices(parsed.rows)) <= SLICE_ROWS + 10
    assert len(list(slices(parsed.rows))) >= 1000 // SLICE_ROWS
