"""Rules that make names and tags for DogStatsD."""

import pytest

from ratelimitd.settings import Mogrifier
from ratelimitd.statsd.mogrify import MogrifierError, renamer


def test_the_first_rule_that_fits_applies():
    """In the order of USE_DOG_STATSD_MOGRIFIERS; a pattern may fit anywhere in the name; $0 is all that it found."""
    rename = renamer(
        [
            Mogrifier("a", r"rate_limit\.(\w+)\.(.*)\.(\w+)$", "rl.$3", (("domain", "$1"), ("key", "<$2>"))),
            Mogrifier("b", r"service\.", "<$0>", ()),
        ]
    )
    assert rename("ratelimit.service.rate_limit.d.k_v.total_hits") == (
        "rl.total_hits",
        [("domain", "d"), ("key", "<k_v>")],
    )
    assert rename("ratelimit.service.config_load_error") == ("<service.>", [])
    assert rename("ratelimit_server.Check.total_requests") == ("ratelimit_server.Check.total_requests", [])


def test_a_group_that_took_no_part_is_empty():
    """As in Go; it is no error while metrics are sent."""
    assert renamer([Mogrifier("a", "(x)|y", "n$1", ())])("y") == ("n", [])


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Mogrifier("a", "(", "n", ()), r"failed to compile pattern for a: \(: missing \)"),
        (Mogrifier("a", "(x)", "n$2", ()), r"\$2 of mogrifier a is no group: .* write at most \$1"),
        (Mogrifier("a", "x", "n", (("k", "$1"),)), r"\$1 of mogrifier a is no group"),
    ],
)
def test_a_rule_that_cannot_apply_is_an_error_of_the_start(rule, why):
    """Upstream ends when the first metric meets it."""
    with pytest.raises(MogrifierError, match=why):
        renamer([rule])
