"""The composed script: the same decisions as Python, and what it does to Redis."""

from typing import Any

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ratelimitd.algorithms import ALGORITHMS, NEVER, Decision, Rate, make_rate
from ratelimitd.limiter import Failure, FailureKind
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.stores.redis.call import INDEPENDENT, Selection
from ratelimitd.stores.redis.errors import classify
from ratelimitd.stores.redis.packing import MAX_CHARGES, calls, open_selections, pack
from ratelimitd.stores.redis.replies import unpack
from ratelimitd.stores.redis.script import compose
from tests.algorithms.cases import FLAGS, LATEST, NOW, SECOND, U32, YEAR, ask, costs, jumps, rates

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NAMES = list(ALGORITHMS)

Drawn = tuple[bool, list[tuple[Rate, bytes, int, bool]], list[str]]
DENIED = Decision(allowed=False, remaining=0, reset_after=SECOND, retry_after=SECOND, before=9)
SETTLED: dict[str, Any] = {
    "open": None,
    "denied": DENIED,
    "allowed": DENIED._replace(allowed=True, retry_after=0),
    "failed": Failure(FailureKind.TIMEOUT, "late"),
}


@st.composite
def workloads(draw):
    """Batches of asks on few counters: (now, [(atomic, charges, what guards settled)])."""
    limits = draw(st.lists(rates(), min_size=1, max_size=4))
    keys = [(rate, b"%d:%d_" % (i, j)) for i, rate in enumerate(limits) for j in range(2)]
    now = NOW
    batches = []
    for _ in range(draw(st.integers(1, 6))):
        now = min(max(now + draw(jumps(draw(st.sampled_from(limits)), back=True)), 0), LATEST)
        batches.append((now, draw(st.lists(drawn_asks(keys), min_size=1, max_size=5))))
    return batches


@st.composite
def drawn_asks(draw, keys):
    charges, known = [], []
    for _ in range(draw(st.integers(1, 4))):
        rate, key = draw(st.sampled_from(keys))
        charges.append((rate, key, draw(costs(rate)), draw(FLAGS)))
        known.append(draw(st.sampled_from(["open"] * 7 + ["denied", "allowed", "failed"])))
    return draw(st.booleans()), charges, known


def made(batch):
    asks = []
    for atomic, charges, known in batch:
        one = ask(*charges, atomic=atomic)
        one.outcomes = [SETTLED[name] for name in known]
        asks.append(one)
    return asks


GCRA = make_rate("gcra", 3, MINUTE)
LOG = make_rate("sliding_window", 5, MINUTE)


YEARLY = make_rate("sliding_window_counter", U32, YEAR)


def alone(*batches):
    """A workload of batches of one ask, with one key for each algorithm."""
    return [
        (
            now,
            [
                (
                    atomic,
                    [(rate, rate.algorithm.encode(), cost, True) for rate, cost in charges],
                    ["open"] * len(charges),
                )
            ],
        )
        for now, charges, atomic in batches
    ]


@pytest.mark.alone
@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.scenario("a key has no expiry")
@pytest.mark.scenario("numbers that Lua would round, truncate or lose")
@settings(max_examples=300)
@given(workloads())
@example(alone((NOW, [(GCRA, 2), (GCRA, 2), (LOG, 1)], True)))
@example(alone((NOW, [(LOG, 2), (LOG, 2), (LOG, -3), (LOG, 1), (LOG, 0), (LOG, 4), (LOG, 1)], False)))
@example(alone((NOW, [(LOG, 1), (LOG, 1)], False), (NOW, [(LOG, -U32), (LOG, 1)], False), (NOW, [(LOG, 0)], False)))
@example(alone(*[(YEAR * halves // 2 + 1, [(YEARLY, U32), (YEARLY, 1)], False) for halves in range(2, 9)]))
def test_lua_decides_as_python_does(timeless, server, workload):
    """Whatever is asked at whatever times, every outcome of every batch is the same, and every key has an expiry."""
    server.flushall()
    memory = MemoryStore()
    for now, batch in workload:
        in_python, in_lua = made(batch), made(batch)
        memory.charge(in_python, now, finished)
        assert timeless.charge(in_lua, now, clock=now) == now
        assert [one.outcomes for one in in_lua] == [one.outcomes for one in in_python]
        assert_each_key_expires(server)
        assert server.dbsize() == len(memory)


def finished(asks):
    """Done: the memory store has filled in every outcome before it returns."""


def assert_each_key_expires(client):
    with client.pipeline(transaction=False) as pipe:
        for key in client.scan_iter():
            pipe.pttl(key)
        assert all(ttl > 0 for ttl in pipe.execute())


@pytest.mark.redis
@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("window", [SECOND, YEAR])
def test_the_largest_limit_in_lua(empty, timeless, name, window):
    """2**32 - 1 a second and a year: charged whole, denied whole, given back whole, as in Python."""
    rate = make_rate(name, 10_000 if name == "sliding_window" else U32, window)
    memory = MemoryStore()
    for now in (NOW, NOW + 1, NOW + 123_457):
        for cost in (rate.quota - 1, 1, 1, U32, 0, -1, 1, -U32, 1):
            in_python, in_lua = ask((rate, b"k_", cost)), ask((rate, b"k_", cost))
            memory.charge([in_python], now, finished)
            timeless.charge([in_lua], now, clock=now)
            assert in_lua.outcomes == in_python.outcomes


@pytest.mark.alone
@pytest.mark.redis
def test_a_full_log_is_searched_not_read(empty, timeless):
    """With 10,000 entries, denials, give-backs of many and re-charges are those of Python."""
    rate = make_rate("sliding_window", 10_000, HOUR)
    memory = MemoryStore()
    for start in range(0, 10_000, 100):
        for charge in (
            lambda asks, now: memory.charge(asks, now, finished),
            lambda asks, now: timeless.charge(asks, now, clock=now),
        ):
            charge([ask(*[(rate, b"k", 1)] * 100)], NOW + start)
    for cost in (1, 777, 9_999, -5_000, 4_000, 1_001, -1):
        in_python, in_lua = ask((rate, b"k", cost)), ask((rate, b"k", cost))
        memory.charge([in_python], NOW + 10_000, finished)
        timeless.charge([in_lua], NOW + 10_000, clock=NOW + 10_000)
        assert in_lua.outcomes == in_python.outcomes


@pytest.mark.redis
@pytest.mark.scenario("numbers that Lua would round, truncate or lose")
def test_time_is_redis_own_unless_given(empty, script):
    """Without a clock argument the script goes by Redis' TIME and says which it was."""
    before, after = (lambda: [int(part) for part in empty.time()]), empty.time
    seconds, micros = before()
    at = script.charge([ask((GCRA, b"k", 1))], 5 * SECOND)
    late_seconds, late_micros = (int(part) for part in after())
    assert seconds * SECOND + micros <= at <= late_seconds * SECOND + late_micros


@pytest.mark.redis
def test_a_fixed_window_goes_by_the_hosts_clock(empty, script):
    """Its key was chosen by the host's clock, so is its reset; the others go by the other clock."""
    fixed = ask((make_rate("fixed_window", 5, MINUTE), b"k_", 1))
    script.charge([fixed], 2222 * SECOND, clock=NOW)
    assert empty.keys() == [b"k_2220"]
    assert decision(fixed).reset_after == 58 * SECOND


def decision(one, index=0):
    outcome = one.outcomes[index]
    assert isinstance(outcome, Decision), outcome
    return outcome


@pytest.mark.redis
@pytest.mark.scenario("a burst at the edge of a window")
def test_a_fixed_windows_counter_is_shared_with_upstream(empty, script):
    """The value is what INCRBY leaves and takes, and it lives for the whole window and the jitter."""
    rate = make_rate("fixed_window", 10, MINUTE)
    empty.incrby("k_60", 4)
    one = ask((rate, b"k_", 3))
    script.charge([one], 119 * SECOND, jitter=7_000)
    assert decision(one).before == 4
    assert empty.incrby("k_60", 1) == 8
    assert 67_000 < empty.pttl("k_60") <= 74_500


@pytest.mark.redis
@pytest.mark.scenario("numbers that Lua would round, truncate or lose")
@pytest.mark.parametrize(("count", "before", "after"), [(1 << 62, 1 << 52, 1 << 62), (-3, 0, 1)])
def test_a_count_out_of_range_is_taken_as_the_nearest(empty, script, count, before, after):
    """A count that INCRBY took beyond the range of a double, or below 0, is still decided on."""
    empty.set("k_60", count)
    one = ask((make_rate("fixed_window", 10, MINUTE), b"k_", 1))
    script.charge([one], 119 * SECOND)
    assert decision(one).before == before
    assert decision(one).allowed == (before == 0)
    assert empty.get("k_60") == b"%d" % after


FOREIGN = {
    "string": lambda client, key: client.set(key, "not ours"),
    "fraction": lambda client, key: client.set(key, "1.5"),
    "list": lambda client, key: client.rpush(key, "a"),
    "hash": lambda client, key: client.hset(key, "a", "b"),
    "zset": lambda client, key: client.zadd(key, {"a": 1}),
}


@pytest.mark.redis
@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("atomic", [True, False])
def test_a_foreign_value_harms_its_charge_alone(empty, script, name, kind, atomic):
    """A foreign value fails the charges on it, vetoes no other charge, and stays unchanged, without an expiry."""
    rate = make_rate(name, 10, MINUTE)
    key = b"bad_0" if name == "fixed_window" else b"bad_"
    FOREIGN[kind](empty, key)
    value = empty.dump(key)
    charges = ((rate, b"good_", 1), (rate, b"bad_", 1), (rate, b"bad_", -1), (rate, b"good_", 1))
    one, other = ask(*charges, atomic=atomic), ask((rate, b"good_", 1))
    script.charge([one, other], 0, clock=0)
    assert decision(one, 0).allowed
    assert decision(one, 3).before == 1
    assert decision(other).before == 2
    for outcome in one.outcomes[1:3]:
        assert isinstance(outcome, Failure)
        assert outcome.kind is FailureKind.KEY
    assert empty.dump(key) == value
    assert empty.pttl(key) == -1


@pytest.mark.redis
@pytest.mark.scenario("a key has no expiry")
@pytest.mark.parametrize("name", NAMES)
def test_a_lost_expiry_is_set_again(empty, script, name):
    """A counter without an expiry has one after a charge, a peek, a denial and a vetoed ask alike."""
    rate = make_rate(name, 2, MINUTE, None, name != "fixed_window")
    veto = make_rate("gcra", 0, MINUTE)
    for asked in (
        ask((rate, b"k_", 1)),
        ask((rate, b"k_", 0)),
        ask((rate, b"k_", 5)),
        ask((rate, b"k_", 1), (veto, b"v", 1), atomic=True),
    ):
        script.charge([ask((rate, b"k_", -U32)), ask((rate, b"k_", 1))], NOW, clock=NOW)
        (key,) = empty.keys()
        assert empty.persist(key)
        script.charge([asked], NOW, clock=NOW)
        assert empty.pttl(key) > 0


@pytest.mark.redis
@pytest.mark.parametrize("name", NAMES)
def test_only_the_keys_given_are_touched(empty, script, name):
    """A user who may touch no other keys can run it; on a cluster that is what routes it."""
    rate = make_rate(name, 2, MINUTE)
    batch = [ask((rate, b"k_", cost), (rate, b"other_", 1), atomic=True) for cost in (1, 1, 1, -1, 0)]
    keys = pack(open_selections(batch), NOW).keys
    empty.acl_setuser("narrow", enabled=True, nopass=True, commands=["+@all"], keys=keys, reset=True)
    with redis.Redis(
        unix_socket_path=empty.connection_pool.connection_kwargs["path"], username="narrow", password="-"
    ) as narrow:
        script.charge(batch, NOW, client=narrow)
    assert all(isinstance(outcome, Decision) for one in batch for outcome in one.outcomes)
    assert set(empty.keys()) == set(keys)


@pytest.mark.redis
@pytest.mark.scenario("Redis is out of memory")
def test_a_full_redis_fails_what_it_cannot_keep(empty, script):
    """Out of memory, a charge that would pass fails by that name; a denial that needs no write stays known."""
    script.charge([ask((GCRA, b"full", 3))], NOW, clock=NOW)
    empty.config_set("maxmemory", 1)
    try:
        one = ask((GCRA, b"full", 1), (GCRA, b"new", 1), (LOG, b"log", 1))
        script.charge([one], NOW, clock=NOW)
    finally:
        empty.config_set("maxmemory", 0)
    assert not decision(one).allowed
    assert [getattr(outcome, "kind", None) for outcome in one.outcomes[1:]] == [FailureKind.OUT_OF_MEMORY] * 2
    assert empty.keys() == [b"full"]


@pytest.mark.redis
def test_a_log_has_one_member_a_charge(empty, script):
    """Hits, denials and peeks add no members, and members that left the window go with the next charge."""
    script.charge(
        [ask((LOG, b"log", 2)), ask((LOG, b"log", 2)), ask((LOG, b"log", 4)), ask((LOG, b"log", 0))], 0, clock=0
    )
    assert empty.zcard("log") == 2
    script.charge([ask((LOG, b"log", 1))], 0, clock=MINUTE - 1)
    script.charge([ask((LOG, b"log", 1))], 0, clock=MINUTE)
    assert empty.zcard("log") == 2


@pytest.mark.redis
def test_a_counter_at_rest_is_not_kept(empty, script):
    """Peeks make no key, and a charge given back leaves none."""
    for name in NAMES:
        rate = make_rate(name, 5, MINUTE)
        script.charge([ask((rate, b"peek_", 0)), ask((rate, b"back_", 1))], NOW, clock=NOW)
        script.charge([ask((rate, b"back_", -1))], NOW, clock=NOW)
    assert empty.keys() == []


@pytest.mark.redis
def test_a_large_ask_is_one_call(empty, script):
    """An ask of 3,000 charges goes alone, is decided whole, and meets no limit of Lua's stack."""
    rate = make_rate("gcra", 2_000, HOUR)
    large = ask(*[(rate, b"k%d" % (i % 2), 1) for i in range(3_000)])
    groups = calls(open_selections([ask((rate, b"a", 1)), large, ask((rate, b"b", 1))]))
    assert [sum(len(each.indices) for each in group) for group in groups] == [1, 3_000, 1]
    assert len(calls(open_selections([large]))) == 1
    script.charge([large], NOW, clock=NOW)
    assert decision(large, 2_999).before == 1_499


def test_calls_are_grouped_up_to_the_most_charges():
    """Asks share a call while it has room for all their open charges; none is split or reordered."""
    asks = [ask(*[(GCRA, b"k", 1)] * 50) for _ in range(6)]
    asks[1].outcomes[:25] = [DENIED] * 25
    asks[5].outcomes = [DENIED] * 50
    groups = calls(open_selections(asks))
    assert [[len(each.indices) for each in group] for group in groups] == [[50, 25, 50], [50, 50]]
    assert [each.ask for group in groups for each in group] == asks[:5]
    assert MAX_CHARGES == 128


@pytest.mark.scenario("one hot key")
def test_equal_keys_are_named_once():
    """A batch names each counter once, however many charges are on it."""
    assert pack(open_selections([ask((GCRA, b"k", 1), (GCRA, b"k", 2)), ask((GCRA, b"k", 1))]), NOW).keys == [b"k"]


@pytest.mark.redis
def test_a_part_of_an_ask_can_be_sent(empty, script):
    """A selection sets the outcomes of its own charges and leaves the others open."""
    one = ask((GCRA, b"a", 1), (GCRA, b"b", 2), (GCRA, b"c", 9))
    packed = pack([Selection(one, [2, 0], INDEPENDENT)], NOW)
    assert packed.keys == [b"c", b"a"]
    unpack(empty.evalsha(script.sha, *packed.words), packed)
    assert decision(one, 2).retry_after == NEVER
    assert decision(one, 0).allowed is True
    assert decision(one, 2).allowed is False
    assert one.outcomes[1] is None


@pytest.mark.redis
def test_one_key_under_two_algorithms_is_a_failure(empty, script):
    """The second algorithm's charge fails, as it would in a separate call; the first is kept."""
    one = ask((GCRA, b"k", 1), (LOG, b"k", 1))
    script.charge([one], NOW, clock=NOW)
    assert decision(one).allowed
    assert classify("WRONGTYPE x").kind is getattr(one.outcomes[1], "kind", None)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", FailureKind.KEY),
        ("ERR value is not an integer or out of range", FailureKind.KEY),
        ("OOM command not allowed when used memory > 'maxmemory'.", FailureKind.OUT_OF_MEMORY),
        ("READONLY You can't write against a read only replica.", FailureKind.TRANSIENT),
        ("NOPERM this user has no permissions", FailureKind.PERMANENT),
    ],
)
def test_an_error_text_is_classified(message, kind):
    """What Redis says tells why a charge failed."""
    assert classify(message) == Failure(kind, message)


def test_an_unlimited_limit_has_no_counter():
    """A charge without a rate is a mistake of the caller, and said so."""
    with pytest.raises(ValueError, match="unlimited"):
        pack([Selection(ask((None, b"k", 1)), [0], INDEPENDENT)], NOW)  # type: ignore[arg-type]


def test_each_fragment_is_in_the_script_once():
    """The script holds every fragment once, however many names share it."""
    assert compose().count("step = function") == len({row.lua for row in ALGORITHMS.values()})
