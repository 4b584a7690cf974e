"""X-RateLimit-* of a response, by the statuses of its answer."""

import pytest

from ratelimitd.gateway.limit_headers import limit_headers
from ratelimitd.limiter import Answer, DescriptorStatus, Rule
from ratelimitd.policy import Limit, Unit


def limit_told(status, multipliers=False):
    return dict(limit_headers(Answer(False, None, (status,), shadowed=False), multipliers))[b"X-RateLimit-Limit"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("daily", b';name="daily"'),
        ('say "hi"', rb';name="say \"hi\""'),
        ("back\\slash", rb';name="back\\slash"'),
        ("two\r\nX-Admin: yes", b""),
        ("für alle", b""),
        ("", b""),
    ],
)
def test_the_name_of_a_limit_is_a_string_of_structured_fields(name, shown):
    """RFC 8941, 3.3.3: quotes and backslashes are escaped; a name that is not printable ASCII is left out."""
    status = DescriptorStatus(False, Rule(Limit(None, 10, Unit.MINUTE, name=name)), 3, 58)
    assert limit_told(status) == b"10, 10;w=60" + shown


@pytest.mark.parametrize(("multipliers", "shown"), [(False, b"10"), (True, b'10, 10;w=600;name="x"')])
def test_a_window_of_several_units_is_listed_where_envoy_would_list_it(multipliers, shown):
    """With STATUS_UNIT_MULTIPLIER; else it is left out of the list, and the first number stays."""
    status = DescriptorStatus(False, Rule(Limit(None, 10, Unit.MINUTE, 10, name="x")), 3, 58)
    assert limit_told(status, multipliers) == shown
