"""New keys of limits whose costs come after the request: a question counts as a visit, and its settlement meets it."""

from ratelimitd.policy import Override, Unit
from tests.limiter.test_new_keys import ask_of, keys_asked, planner, warm

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
