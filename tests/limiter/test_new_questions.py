"""New keys of limits whose costs come after the request: a question counts as a visit, and its settlement meets it."""

import pytest

from ratelimitd.algorithms import HoldDecision, lease_of
from ratelimitd.limiter import NewKeys
from ratelimitd.limiter.holding import lease, release
from ratelimitd.limiter.new_keys import STEPS
from ratelimitd.policy import Override, Unit
from tests.limiter.test_new_keys import TABLE_SIZE, ask_of, keys_asked, planner, turned, warm

AFTER = planner(
    b"domain: d\ndefault_charge: after\ndescriptors: [{key: ip, rate_limit: {unit: hour, requests_per_unit: 9}}]\n"
)


def asked(text, hits, **more):
    return ask_of(text, by=AFTER, hits=hits, **more)


def test_a_settlement_finds_the_key_that_was_asked():
    """Below the cap the question makes its key known, so a flood afterwards leaves the settlement its own counter."""
    guard, now = warm(1)
    (own,) = keys_asked(guard, now, asked(b"ip=1", 0))
    flood = keys_asked(guard, now, *(asked(b"ip=%d" % n, 0) for n in range(2, 9)))
    assert (own in flood, len(set(flood)), guard.redirected) == (False, 1, 7)
    assert keys_asked(guard, now, asked(b"ip=1", 7)) == [own]


def test_beyond_the_cap_question_and_settlement_share_the_overflow_counter():
    """So that the counter fills which the next question meets."""
    guard, now = warm(0)
    question, settlement = keys_asked(guard, now, asked(b"ip=1", 0), asked(b"ip=1", 7))
    assert question == settlement
    redirected = asked(b"ip=1", 7)
    flags = redirected.plan.charges[0].flags
    guard.before([redirected], now)
    assert redirected.plan.charges[0].flags == flags


def test_releases_and_give_backs_are_no_visits():
    """They create no counter, as peeks do not."""
    guard, now = warm(0)
    keys_asked(guard, now, asked(b"ip=1", 0, lease=b"id"), asked(b"ip=1", 3, negative=True))
    keys_asked(guard, now, ask_of(b"ip=1", hits=0))
    assert guard.redirected == 0


def test_an_override_keeps_its_switch_beyond_the_cap():
    """One of ten minutes too, which shares the overflow counter of an hour: what is refused in doubt can be settled."""
    guard, now = warm(0)
    carried = planner(b"domain: d\ndefault_algorithm: gcra\n")
    ten = Override(7, Unit.MINUTE, 10)
    asks = [ask_of(b"ip=1", by=carried, hits=hits, override=ten) for hits in (0, 9)]
    guard.before(asks, now)
    switches = [ask.plan.charges[0].rule.switch for ask in asks]
    assert guard.redirected == 1
    assert switches[0] is not None
    assert switches[1] is switches[0]


HELD = planner(
    b"domain: d\ndescriptors:\n"
    b"  - {key: ip, rate_limit: {unit: hour, requests_per_unit: 90, reserve: {amount: 10}}}\n"
    b"  - {key: place, rate_limit: {concurrent: 9}}\n"
)


def held(text, hits=0, **more):
    return ask_of(text, by=HELD, hits=hits, **more)


def lease_after(guard, now, *asks):
    """The lease of asks of one call, of which each charge took a hold where the guard has sent it."""
    guard.before(asks, now)
    for ask in asks:
        ask.outcomes = [HoldDecision(True, 1, 1, 0, 0, 10, charge.hold.amount) for charge in ask.plan.charges]
    (only,) = asks
    return lease(only)


@pytest.mark.parametrize("hits", [7, 0])
@pytest.mark.parametrize("text", [b"ip=1", b"place=1"])
def test_a_settlement_with_a_lease_meets_the_counter_that_was_asked(text, hits):
    """However long the answer took and whatever came meanwhile, at a process that has never seen the key too."""
    guard, now = warm(1)
    question = held(text)
    own = question.plan.charges[0].key
    given = lease_after(guard, now, question)
    now = turned(guard, now, 9 * STEPS)
    keys_asked(guard, now, held(b"ip=2"), held(b"place=2"))
    for other in (guard, warm(0)[0]):
        assert keys_asked(other, now, held(text, hits, lease=given)) == [own]
        assert keys_asked(other, now, release(question)) == [own]


def test_a_hold_on_the_overflow_counter_is_settled_there():
    """Also when its key has become known since, and at a process that has just started."""
    guard, now = warm(0)
    question = held(b"ip=1")
    given = lease_after(guard, now, question)
    (shared,) = [charge.key for charge in question.plan.charges]
    assert given == lease_of(question.plan.call, [10], b":")
    known, later = warm(9)
    assert keys_asked(known, later, held(b"ip=1")) != [shared]
    for other in (guard, known, NewKeys(9, b"", TABLE_SIZE)):
        assert keys_asked(other, later if other is known else now, held(b"ip=1", 7, lease=given)) == [shared]
    assert keys_asked(warm(9)[0], now, release(question)) == [shared]


def test_a_call_that_holds_here_and_there_settles_by_what_is_known():
    """Its lease does not say which hold is where; the key that was accepted is known, and the other one is not."""
    guard, now = warm(1)
    keys_asked(guard, now, held(b"ip=1"))
    call = ask_of(b"ip=1", b"ip=2", by=HELD, hits=0)
    given = lease_after(guard, now, call)
    assert given == lease_of(call.plan.call, [10], b"+")
    asked_of = [charge.key for charge in call.plan.charges]
    settled = ask_of(b"ip=1", b"ip=2", by=HELD, hits=7, lease=given)
    assert keys_asked(guard, now, settled) == asked_of


@pytest.mark.parametrize("text", [None, b"none", b"x", b"0123456789abcdef"])
def test_a_settlement_that_names_no_hold_makes_no_key(text):
    """It is no evidence of a question, and a flood of denied requests reports as often as it asks."""
    guard, now = warm(0)
    (question,) = keys_asked(guard, now, held(b"ip=1"))
    assert keys_asked(guard, now, held(b"ip=1", 7, lease=text)) == [question]
    if text is None:
        assert keys_asked(guard, now, held(b"place=1")) == keys_asked(guard, now, held(b"place=1", 1))


def test_a_key_that_was_asked_stays_known_until_its_answer_ends():
    """For six minutes at least and eight at most, and after each visit again; one of a plain limit, four at most."""
    guard, now = warm(1)
    own = keys_asked(guard, now, asked(b"ip=1", 0))
    for turns, known in ((3, True), (3, True), (4, False)):
        now = turned(guard, now, turns * STEPS)
        keys_asked(guard, now, asked(b"ip=%d" % now, 0))
        assert (keys_asked(guard, now, asked(b"ip=1", 7)) == own) is known


def test_a_key_that_is_asked_each_minute_is_never_forgotten():
    """Whatever the age of it was at each visit."""
    guard, now = warm(1)
    own = keys_asked(guard, now, asked(b"ip=1", 0))
    for _ in range(12):
        now = turned(guard, now, STEPS // 2)
        assert keys_asked(guard, now, asked(b"ip=2", 0), asked(b"ip=1", 0))[1:] == own
        assert guard._ages[hash(own[0]) & (TABLE_SIZE - 1)] == 5
