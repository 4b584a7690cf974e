"""The engine: each ask of a batch is answered once, an error harms its own ask alone, and all is counted here."""

import pytest

from ratelimitd.algorithms import make_rate
from ratelimitd.limiter import (
    ENFORCED,
    Engine,
    Failure,
    FailureKind,
    LimitRequest,
    Modes,
    NoPolicyError,
    Planner,
    PlanOptions,
    Tallies,
    key_maker,
)
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

NOW = 1_000_000
POLICY = b"domain: d\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 1}}]\n"
USER = LimitRequest(b"d", (Descriptor(((b"user", b"x"),)),))


class Away:
    """A store that decides nothing."""

    def charge(self, asks, now, done):
        for ask in asks:
            ask.outcomes = [Failure(FailureKind.TIMEOUT, "no answer")] * len(ask.outcomes)
        done(asks)


class Edge:
    """Asks an engine for tags in one batch, and records the result of each, in order."""

    def __init__(self, store=None, guards=(), modes=ENFORCED, policy=POLICY):
        self.counts = Counters()
        self.engine = Engine(MemoryStore(1 << 20) if store is None else store, self.counts, guards, modes)
        if policy is not None:
            parsed = parse([("p.yaml", policy)])
            self.engine.planner = Planner(parsed, key_maker(b"", safe=True), Tallies(), PlanOptions(modes=modes))
        self.told = []
        self.groups = []

    def decide(self, *tags):
        asks = [self.engine.ask(b"user", lambda _: USER, tag=tag) for tag in tags]
        self.engine.decide(asks, NOW, self.answered, self.failed, self.groups.append)
        return self.told

    def answered(self, ask, answer):
        if ask.tag == "boom":
            raise RuntimeError("a bug")
        self.told.append((ask.tag, "failed" if answer.failure else "over" if answer.over else "ok"))

    def failed(self, tag, error):
        self.told.append((tag, str(error)))

    @property
    def counted(self):
        return self.counts.service_error, self.counts.redis_error, self.counts.global_shadow_mode


def test_asks_are_answered_in_their_order_and_told_as_a_group():
    """Each ask of a batch is answered once; ``done`` hears of those that completed together, after their answers."""
    edge = Edge()
    assert edge.decide("a", "b") == [("a", "ok"), ("b", "over")]
    assert [[ask.tag for ask in group] for group in edge.groups] == [["a", "b"]]
    assert edge.counted == (0, 0, 0)


def test_an_error_in_an_answer_harms_its_own_ask_alone():
    """The ask whose answer raised fails with that error and is counted; the others are answered, each once."""
    edge = Edge()
    assert edge.decide("a", "boom", "c") == [("a", "ok"), ("boom", "a bug"), ("c", "over")]
    assert edge.counted == (1, 0, 0)


class Faulty:
    """A guard that raises after the store has decided."""

    def before(self, asks, now):
        """Do nothing."""

    def after(self, asks, now):
        raise RuntimeError("a bug")


@pytest.mark.parametrize(("tag", "guards"), [("boom", ()), ("a", (Faulty(),))])
def test_an_error_after_the_decision_leaves_no_hold(tag, guards):
    """Its request fails without a lease, so no settlement could release it."""
    edge = Edge(guards=guards, policy=b"domain: d\ndescriptors: [{key: user, rate_limit: {concurrent: 1}}]\n")
    assert edge.decide(tag) == [(tag, "a bug")]
    assert len(edge.engine.store) == 0


@pytest.mark.parametrize("place", ["before", "charge", "after"])
def test_an_error_in_a_guard_or_a_store_fails_the_batch(place):
    """Whichever part raises, every ask is failed once, and each is counted."""

    class Faulty(MemoryStore):
        def at(self, where):
            if where == place:
                raise RuntimeError("a bug")

        def before(self, asks, now):
            self.at("before")

        def charge(self, asks, now, done):
            self.at("charge")
            super().charge(asks, now, done)

        def after(self, asks, now):
            self.at("after")

    faulty = Faulty(1 << 20)
    edge = Edge(faulty, [faulty])
    assert edge.decide("a", "b") == [("a", "a bug"), ("b", "a bug")]
    assert edge.counted == (2, 0, 0)


def test_guards_stand_around_the_store():
    """Before the store in their order, after it in the reverse one."""
    went = []

    class Guard:
        def __init__(self, name):
            self.name = name

        def before(self, asks, now):
            went.append(f"before {self.name}")

        def after(self, asks, now):
            went.append(f"after {self.name}")

    Edge(guards=[Guard("outer"), Guard("inner")]).decide("a")
    assert went == ["before outer", "before inner", "after inner", "after outer"]


def test_a_failure_of_the_store_is_counted():
    """It is the answer of its ask, and upstream's redis_error."""
    edge = Edge(Away())
    assert edge.decide("a") == [("a", "failed")]
    assert edge.counted == (0, 1, 0)


def test_an_answer_that_shadow_mode_turned_is_counted():
    """With SHADOW_MODE nothing is over; what would have been is counted."""
    edge = Edge(modes=Modes(shadow=True))
    assert edge.decide("a", "b") == [("a", "ok"), ("b", "ok")]
    assert edge.counted == (0, 0, 1)


def test_a_request_is_planned_by_the_policy_of_its_time():
    """What ``read`` makes of it is planned; after a reload by the new policy."""
    edge = Edge()
    asks = [edge.engine.ask(b"user", lambda _: USER)]
    edge.engine.planner = Edge(policy=POLICY.replace(b"requests_per_unit: 1", b"requests_per_unit: 2")).engine.planner
    asks.append(edge.engine.ask(b"user", lambda _: USER))
    rates = [make_rate("fixed_window", quota, 3_600_000_000) for quota in (1, 2)]
    assert [charge.limit.rate for ask in asks for charge in ask.plan.charges] == rates


def test_without_a_policy_there_is_nothing_to_ask():
    """Until a first policy is loaded each request fails, and is counted."""
    edge = Edge(policy=None)
    with pytest.raises(NoPolicyError):
        edge.decide("a")
    assert edge.counted == (1, 0, 0)


def test_a_request_that_cannot_be_read_is_its_edges_error():
    """What ``read`` raises reaches the edge as it is; it is counted each time."""
    edge = Edge()

    def unreadable(_):
        raise ValueError("not a request")

    for _ in range(2):
        with pytest.raises(ValueError, match="not a request"):
            edge.engine.ask(b"bad", unreadable)
    assert edge.counted == (2, 0, 0)
