"""Values that look like a counter of ratelimitd, with numbers that it never stores."""

import pytest

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter import Failure, FailureKind
from tests.algorithms.cases import NOW, SECOND, ask

MINUTE = 60 * SECOND
HUGE = "9" * 400
FIXED = make_rate("fixed_window", 10, MINUTE)


def log(*members):
    """Writes a log of these members, a second apart."""
    return lambda client: client.zadd("bad", {each: NOW - (9 - at) * SECOND for at, each in enumerate(members)})


def text(value):
    return lambda client: client.set("bad", value)


@pytest.mark.redis
@pytest.mark.scenario("numbers that Lua would round, truncate or lose")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("token_bucket", text(f"0 {NOW} 0")),
        ("gcra", text(f"{HUGE} {NOW} {HUGE}")),
        ("leaky_bucket", text(f"5 {HUGE} 1")),
        ("sliding_window_counter", text(f"{HUGE} 1 1")),
        ("sliding_window", log(f"{HUGE}:1")),
        ("sliding_window", log(f"1:{HUGE}", "2:1")),
        ("sliding_window", log("0000000000000009:1", "0000000000000001:1")),
    ],
)
@pytest.mark.parametrize("cost", [1, 11, 0, -1])
def test_numbers_that_are_never_stored_harm_their_charge_alone(empty, script, name, write, cost):
    """A step with them would come to no number, and the reply would be none of the script: its connection is closed."""
    rate = make_rate(name, 10, MINUTE)
    write(empty)
    value = empty.dump("bad")
    one = ask((rate, b"good", 1), (rate, b"bad", cost), (FIXED, b"count_", 1))
    script.charge([one], NOW, clock=NOW)
    assert isinstance(one.outcomes[1], Failure)
    assert one.outcomes[1].kind is FailureKind.KEY
    assert [type(each) for each in (one.outcomes[0], one.outcomes[2])] == [Decision, Decision]
    assert empty.dump("bad") == value
