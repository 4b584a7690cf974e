import pytest

from ratelimitd.limiter import Ask, LimitRequest, Planner, PlanOptions, Selection, Tallies, key_maker, selects
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse

POLICY = b"""
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 1, name: users}}
  - key: tenant
    descriptors:
      - {key: path, rate_limits: [{name: short, unit: second, requests_per_unit: 1}]}
"""


def ask():
    """A request with two limits: ``user=alice``, and ``tenant=acme,path=/a``."""
    policy = parse([("p.yaml", POLICY)])
    entries = (((b"user", b"alice"),), ((b"tenant", b"acme"), (b"path", b"/a")))
    planner = Planner(policy, key_maker(b"", safe=True), Tallies(), PlanOptions())
    plan = planner.plan(LimitRequest(b"d", tuple(map(Descriptor, entries))))
    return Ask(plan, list(plan.costs))


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (Selection(), True),
        (Selection(domain=b"d"), True),
        (Selection(domain=b"e"), False),
        (Selection(limit="users"), True),
        (Selection(limit="d.user"), True),
        (Selection(limit="d.tenant.path.limit_short"), True),
        (Selection(limit="short"), True),
        (Selection(limit="d.tenant"), False),
        (Selection(key=b"path", value=b"/a"), True),
        (Selection(key=b"path", value=b"/b"), False),
        (Selection(key=b"tenant"), True),
        (Selection(key=b"alice"), False),
        (Selection(key=b"user", value=b""), False),
        (Selection(b"d", "users", b"tenant", b"acme"), True),
        (Selection(b"d", "users", b"tenant", b"other"), False),
        (Selection(b"d", "other", b"tenant", b"acme"), False),
    ],
)
def test_a_selection_is_by_domain_limit_and_entry(selection, selected):
    """Each that is given must fit; a limit is named by its name or its position, an entry by its key or both."""
    assert selects(selection, ask()) is selected
