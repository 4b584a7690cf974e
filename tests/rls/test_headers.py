import pytest

from ratelimitd.limiter import NO_LIMIT, Answer, DescriptorStatus, Rule
from ratelimitd.policy import Limit, Unit
from ratelimitd.rls.headers import ietf_headers, limit_headers

NAMES = ("L", "M", "R")


def status(remaining, over=False, reset=58, requests_per_unit=10, **limit):
    return DescriptorStatus(over, Rule(Limit(None, requests_per_unit, Unit.MINUTE, **limit)), remaining, reset)


@pytest.mark.scenario("the reset time fluctuates from answer to answer")
@pytest.mark.parametrize(
    ("statuses", "shown"),
    [
        ([status(5)], ("10", "5", "58")),
        ([status(5), status(3, reset=7)], ("10", "3", "7")),
        ([status(3, reset=1), status(3, reset=2)], ("10", "3", "1")),
        ([status(0, over=True, reset=1), status(0, over=True, reset=2)], ("10", "0", "2")),
        ([status(0, over=True, reset=1), status(0, over=True, reset=2, quota_mode=True)], ("10", "0", "1")),
        ([NO_LIMIT, status(4)], ("10", "4", "58")),
        ([NO_LIMIT], None),
        ([status((1 << 32) - 1)], None),
        ([status((1 << 32) + 5), NO_LIMIT], None),
        ([status((1 << 32) - 1), status((1 << 32) - 2)], ("10", str((1 << 32) - 2), "58")),
        ([status((1 << 32) - 1), status(0, over=True)], ("10", "0", "58")),
    ],
)
def test_the_headers_show_one_descriptor_as_upstream_picks_it(statuses, shown):
    """The least remaining below 4294967295, the first of equals; the last over its limit, quotas aside; or none."""
    expected = [] if shown is None else list(zip(NAMES, shown, strict=True))
    assert expected == list(limit_headers(statuses, NAMES, all_quota=False))


def test_under_quota_mode_no_limit_is_picked_for_being_over():
    """With QUOTA_MODE every limit is a quota limit, so the least remaining is shown."""
    statuses = [status(0, over=True, reset=1), status(0, over=True, reset=2)]
    assert list(limit_headers(statuses, NAMES, all_quota=True)) == [("L", "10"), ("M", "0"), ("R", "1")]


def test_ietf_headers_list_every_limit():
    """RateLimit-Policy and RateLimit are lists of strings with q, w, r and t; Retry-After is the longest wait."""
    statuses = (status(3, name='say "hi"'), NO_LIMIT, status(0, over=True, reset=9), status(0, over=True, reset=4))
    assert list(ietf_headers(Answer(over=True, failure=None, statuses=statuses, shadowed=False))) == [
        ("RateLimit-Policy", '"say \\"hi\\"";q=10;w=60, "limit-2";q=10;w=60, "limit-3";q=10;w=60'),
        ("RateLimit", '"say \\"hi\\"";r=3;t=58, "limit-2";r=0;t=9, "limit-3";r=0;t=4'),
        ("Retry-After", "9"),
    ]


def test_ietf_headers_without_a_limit_are_absent():
    """Nothing is said where nothing limits."""
    assert list(ietf_headers(Answer(over=False, failure=None, statuses=(NO_LIMIT,), shadowed=False))) == []


def test_retry_after_comes_with_a_denial_alone():
    """A request that passes is not told to come back."""
    names = [name for name, _ in ietf_headers(Answer(False, None, (status(3),), shadowed=False))]
    assert names == ["RateLimit-Policy", "RateLimit"]
