"""Verdicts on answers that are paid for afterwards, on synthetic ones."""

import pytest

from bench.bounds import Failover
from bench.laws import policy
from bench.spending import BUDGET, COST, LAW, LEDGER, Answer, Reply, Spent, account, counted, request
from ratelimitd.policy import Charging
from ratelimitd.policy_file import parse

DAY = 1_700_000_000.0
CALLERS = 16
LOST = 3


def answers(seconds=6.0, lag=0.0):
    """Answers that a budget admits, whose reports come ``lag`` seconds after their questions; ``CALLERS`` at once."""
    made, debt, reports, last = [], 0.0, [], DAY
    for step in range(int(seconds * 1000)):
        now = DAY + step / 1000
        debt = max(0.0, debt - LAW.rate * (now - last))
        last = now
        while reports and reports[0] <= now:
            reports.pop(0)
            debt += COST
        if debt <= LAW.burst - 1 and len(reports) < CALLERS:
            made.append(Answer(now, now + 1e-6, Reply.PASSED))
            reports.append(now + lag)
    return made


def spent(made, **changes):
    """What callers spent who made these answers, all of it recorded."""
    reached = [answer for answer in made if answer.report is not Reply.UNKNOWN]
    return Spent(made, CALLERS, 9, 2 * len(reached), 0, COST * len(made))._replace(**changes)


def misses(made, *failovers, **changes):
    return account(spent(made, **changes), failovers).misses


def test_a_budget_that_does_its_work_has_no_misses():
    """What was settled is within the budget, but for the answers in flight, which show as its over-run."""
    prompt, late = account(spent(answers())), account(spent(answers(lag=0.1)))
    assert (prompt.misses, late.misses) == ((), ())
    assert prompt.over_run <= COST
    assert COST < late.over_run <= CALLERS * COST
    assert late.settled <= late.budget + CALLERS * COST


def test_more_answers_than_were_in_flight_are_a_miss():
    """Unless their reports met no store; a failover admits a burst once more."""
    made = answers(lag=0.1)
    extra = [Answer(made[-1].sent, made[-1].done, Reply.PASSED)] * (CALLERS + 10)
    (found,) = misses([*made, *extra])
    assert found.endswith("answers over the budget and those in flight")
    assert misses([*made, *[each._replace(report=Reply.FAILED) for each in extra]]) == ()
    assert misses([*made, *extra], Failover(made[-1].sent - 1, made[-1].done)) == ()


def test_reports_are_recorded_or_lost():
    """Each is counted by a service, once for each key; of those without an answer both may be true."""
    made = answers()
    whole = 2 * len(made)
    assert misses(made, recorded=whole - LOST, lost=LOST) == ()
    assert misses(made, recorded=whole - LOST) == (f"{whole - LOST} reports counted of {whole}",)
    assert misses(made, recorded=whole + 1) == (f"{whole + 1} reports counted of {whole}",)
    assert misses(made, recorded=None) == ()
    unknown = [*made, made[-1]._replace(report=Reply.UNKNOWN)]
    assert misses(unknown) == misses(unknown, recorded=whole + 2) == ()


def test_no_hit_is_recorded_twice_and_none_that_was_is_gone():
    """The store has what was reported at most, and what it said it has at least, unless a failover lost it."""
    made = answers()
    most = COST * len(made)
    assert misses(made, ledger=most + 1) == (f"{most + 1} hits recorded, {most} reported",)
    assert misses(made, ledger=most - 1) == (f"{most - 1} hits found of {most} recorded",)
    assert misses(made, Failover(DAY, DAY + 1), ledger=0) == ()


def test_a_budget_that_nothing_used_up_is_a_miss():
    """Its bound would hold whatever was recorded; so would that of a budget of which nothing was reported."""
    assert misses(answers(), denied=0) == ("no question was denied",)
    assert misses([], ledger=0) == ("no answer was settled",)


def test_the_policy_has_a_budget_and_a_ledger():
    """Both are paid for afterwards; the budget has the law of the check."""
    nodes = parse([("p.yaml", policy().encode())]).domains[b"bench"].root.children
    budget, ledger = (nodes[key.encode()].limits[0] for key in (BUDGET, LEDGER))
    rate = budget.rate
    assert (rate.algorithm, rate.quota, rate.window / 1e6, rate.burst) == tuple(LAW)
    assert [budget.charge, ledger.charge] == [Charging.AFTER] * 2


@pytest.mark.parametrize("hits", [0, COST])
def test_a_call_has_its_hits_on_each_key(hits):
    """An explicit 0 too."""
    from ratelimitd.proto import message

    sent = message("envoy.service.ratelimit.v3.RateLimitRequest").FromString(request("v", hits, BUDGET, LEDGER))
    assert [(each.entries[0].key, each.hits_addend.value) for each in sent.descriptors] == [
        (BUDGET, hits),
        (LEDGER, hits),
    ]
    assert all(each.HasField("hits_addend") for each in sent.descriptors)


def test_reports_are_counted_over_services_and_keys():
    """Those of other limits are not."""
    name = "ratelimitd_settlements_{}"
    one = {
        name.format('total{domain="bench",key1="budget"}'): 3.0,
        name.format('total{domain="bench",key1="ledger"}'): 4.0,
        name.format('total{domain="bench",key1="other"}'): 50.0,
        name.format("lost_total"): 2.0,
    }
    assert counted([one, {**one, name.format("waiting"): 1.0}]) == (14, 4, 1)
