"""X-RateLimit-* of a response, by the statuses of its answer."""

import pytest

from ratelimitd.gateway.limit_headers import limit_headers
from ratelimitd.limiter import Answer, DescriptorStatus, Rule
from ratelimitd.policy import Limit, Unit


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
    headers = dict(limit_headers(Answer(False, None, (status,), shadowed=False)))
    assert headers[b"X-RateLimit-Limit"] == b"10, 10;w=60" + shown
