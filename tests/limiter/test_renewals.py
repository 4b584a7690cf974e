"""When holds of requests in progress are renewed. Pure; times are µs."""

from ratelimitd.limiter import Renewals

MINUTE = 60_000_000


def test_each_hold_is_renewed_three_times_within_its_ttl():
    """Two renewals may fail before it expires; each ttl has its own pace."""
    renewals = Renewals()
    slow, fast = "slow", "fast"
    renewals.add(slow, 9 * MINUTE, 0)
    renewals.add(fast, 3 * MINUTE, 0)
    found = []
    while (due := renewals.next) < 9 * MINUTE:
        found += [(ask, due // MINUTE) for ask in renewals.take_due(due, 10)]
    assert [minute for ask, minute in found if ask == fast] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [minute for ask, minute in found if ask == slow] == [3, 6]


def test_what_is_over_is_renewed_no_longer():
    """Nor is anything due then; to discard it twice is no error."""
    renewals = Renewals()
    renewals.add("one", MINUTE, 0)
    renewals.add("two", MINUTE, 0)
    for _ in range(2):
        renewals.discard("one", MINUTE)
    assert renewals.take_due(MINUTE, 10) == ["two"]
    renewals.discard("two", MINUTE)
    assert (renewals.next, len(renewals), renewals.take_due(9 * MINUTE, 10)) == (None, 0, [])


def test_many_are_renewed_some_at_a_time():
    """The longest due first, and those that are left stay due."""
    renewals = Renewals()
    for number in range(5):
        renewals.add(number, MINUTE, number)
    assert renewals.take_due(MINUTE, 2) == [0, 1]
    assert renewals.next <= MINUTE
    assert renewals.take_due(MINUTE, 9) == [2, 3, 4]
    assert renewals.next > MINUTE
