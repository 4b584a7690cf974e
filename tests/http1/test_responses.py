"""What is the same in every answer."""

from email.utils import formatdate

from ratelimitd.http1.responses import imf_date


def test_a_date_is_written_as_email_writes_it():
    """On every day of 30 years, at a time of its own."""
    for seconds in range(0, 30 * 366 * 86_400, 86_400 + 61):
        assert formatdate(seconds, usegmt=True).encode() == imf_date(seconds)
