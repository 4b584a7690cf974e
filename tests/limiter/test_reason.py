"""Why a request was denied, failed, or passed without its counter."""

import pytest

from ratelimitd.limiter import (
    ENFORCED,
    Ask,
    Engine,
    Failure,
    FailureKind,
    Fallback,
    LimitRequest,
    Modes,
    NewKeys,
    OverLimitCache,
    Planner,
    PlanOptions,
    Reason,
    ReasonKind,
    Tallies,
    key_maker,
    reason_of,
)
from ratelimitd.limiter.new_keys import STEPS, SWEEP
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor, OnStoreFailure, Override, Unit
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

NOW = 1_000_000_000
POLICY = b"""
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: user, value: a.1.2.3.4:x, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: named, value_to_metric: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - key: several
    rate_limits:
      - {name: short, unit: second, requests_per_unit: 1}
      - {name: daily, unit: day, requests_per_unit: 1}
  - {key: shadow, shadow_mode: true, on_store_failure: allow, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: quota, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: error, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: deny, on_store_failure: deny, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: allow, on_store_failure: allow, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: local, on_store_failure: local, rate_limit: {unit: hour, requests_per_unit: 1}}
"""


class Away:
    """A store that decides keys which it has been told of, and none else."""

    def __init__(self, known=b"none"):
        self._memory = MemoryStore(1 << 20)
        self._known = known

    def charge(self, asks, now, done):
        for ask in asks:
            for index, charge in enumerate(ask.plan.charges):
                if self._known not in charge.key and ask.outcomes[index] is None:
                    ask.outcomes[index] = Failure(FailureKind.TIMEOUT, "no answer in time")
        self._memory.charge(asks, now, done)


class Rig:
    """An engine over the policy; asks are given by texts such as ``user=x``."""

    def __init__(self, store=None, guards=(), modes=ENFORCED):
        self.engine = Engine(store or MemoryStore(1 << 20), Counters(), guards, modes)
        policy, options = parse([("p.yaml", POLICY)]), PlanOptions(modes=modes)
        self.engine.planner = Planner(policy, key_maker(b"", safe=True), Tallies(), options)

    def ask(self, *texts, now=NOW, **more):
        """Decide a request; returns its answer and its reason."""
        descriptors = tuple(Descriptor((tuple(text.encode().split(b"=")),), **more) for text in texts)
        plan = self.engine.planner.plan(LimitRequest(b"d", descriptors))
        ask, found = Ask(plan, list(plan.costs)), []

        def answered(ask, answer):
            found.append((answer, reason_of(ask, answer, self.engine.modes)))

        def failed(_, error):
            raise error

        self.engine.decide([ask], now, answered, failed)
        return found[0]

    def reason(self, *texts, **more):
        return self.ask(*texts, **more)[1]


def over(limit, kind=ReasonKind.OVER_LIMIT):
    return Reason(kind, limit)


def away(*known):
    """A rig whose store is away, with the fallback of a service."""
    return Rig(Away(*known), [Fallback(MemoryStore(1 << 20), 1, lambda *_: None)])


def test_an_allowed_request_has_no_reason():
    """Neither has one without a limit."""
    rig = Rig()
    assert [rig.reason("user=x"), rig.reason("nothing=x"), rig.reason("shadow=x")] == [None] * 3


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("user=x", "d.user"),
        ("user=a.1.2.3.4:x", "d.user_a.1_2_3_4_x"),
        ("named=secret", "d.named"),
        ("several=x", "d.several.limit_daily"),
    ],
)
def test_a_denial_names_its_limit_as_metrics_do_without_values_of_the_request(text, limit):
    """By position; of several limits that deny, the one with the longest wait."""
    rig = Rig()
    rig.ask(text)
    assert rig.reason(text) == over(limit)


def test_of_several_descriptors_the_longest_wait_is_named():
    """The caller has to wait for that one, wherever it stands in the request."""
    rig = Rig()
    for text in ("several=x", "user=x"):
        rig.ask(text)
    for texts in (("several=x", "user=x"), ("user=x", "several=x")):
        assert rig.reason(*texts) == over("d.several.limit_daily")


def test_a_remembered_denial_has_the_reason_of_the_first():
    """The over-limit cache denies for the same limit."""
    rig = Rig(guards=[OverLimitCache(1 << 20)])
    rig.ask("user=x")
    assert [rig.reason("user=x"), rig.reason("user=x")] == [over("d.user")] * 2


def test_quota_limits_are_the_reason_only_if_they_alone_deny():
    """A quota limit that is over does not decide beside an ordinary one, however long its wait."""
    rig = Rig()
    for text in ("quota=x", "user=x"):
        rig.ask(text)
    assert rig.reason("quota=x") == over("d.quota", ReasonKind.QUOTA)
    assert rig.reason("quota=x", "user=x") == over("d.user")
    everywhere = Rig(modes=Modes(quota=True))
    everywhere.ask("user=x")
    assert everywhere.reason("user=x") == over("d.user", ReasonKind.QUOTA)


def test_a_shadow_limit_is_no_reason_and_shadow_mode_keeps_one():
    """A shadow limit denies nothing; SHADOW_MODE lets a request pass that has a reason to be denied."""
    rig = Rig()
    rig.ask("shadow=x")
    assert rig.reason("shadow=x") is None
    everywhere = Rig(modes=Modes(shadow=True))
    everywhere.ask("user=x")
    answer, reason = everywhere.ask("user=x")
    assert (answer.over, reason) == (False, over("d.user"))


def test_an_override_is_named_by_its_keys():
    """The limit came with the request; no value of it is in the reason."""
    rig = Rig()
    override = Override(1, Unit.HOUR)
    rig.ask("user=secret", override=override)
    assert rig.reason("user=secret", override=override) == over("d.user", ReasonKind.OVERRIDE)


def test_the_counter_that_new_keys_share_is_a_reason_of_its_own():
    """Past NEW_KEYS_PER_SECOND an unseen key is denied for the others, under the name of its limit."""
    guard = NewKeys(1, b"", 1 << 20)
    for step in range(STEPS + 2):
        guard.before((), NOW + step * (SWEEP // STEPS))
    now = NOW + (STEPS + 2) * (SWEEP // STEPS)
    rig = Rig(guards=[guard])
    reasons = [rig.reason(f"user={n}", now=now) for n in range(3)]
    assert reasons == [None, None, over("d.user", ReasonKind.NEW_KEYS)]


@pytest.mark.parametrize(
    ("text", "result", "sentence"),
    [
        ("error=x", "failed", "store away (timeout), failed by on_store_failure: error (limit d.error)"),
        ("deny=x", "denied", "store away (timeout), denied by on_store_failure: deny (limit d.deny)"),
        ("allow=x", "allowed", "store away (timeout), allowed by on_store_failure: allow (limit d.allow)"),
        ("local=x", "allowed", "store away (timeout), allowed by on_store_failure: local (limit d.local)"),
    ],
)
def test_a_failure_of_the_store_names_its_kind_and_the_policy_that_decided(text, result, sentence):
    """Also when the request passed; the sentence says it all."""
    reason = away().reason(text)
    policy = OnStoreFailure[text[:-2].upper()]
    limit = f"d.{text[:-2]}"
    assert reason == Reason(ReasonKind.STORE_FAILURE, limit, FailureKind.TIMEOUT, policy, result)
    assert reason.sentence == sentence


def test_a_local_counter_that_denies_is_told_from_the_store():
    """While the store is away the process's own count may deny; the limit itself may have room."""
    rig = away()
    rig.ask("local=x")
    assert rig.reason("local=x") == Reason(
        ReasonKind.STORE_FAILURE, "d.local", FailureKind.TIMEOUT, OnStoreFailure.LOCAL, "denied"
    )


def test_a_known_denial_precedes_one_without_a_counter():
    """A limit that was counted and is over is the reason, whatever the others would have said."""
    rig = away(b"user")
    rig.ask("user=x")
    for texts in (("user=x", "deny=x", "error=x"), ("deny=x", "user=x")):
        assert rig.reason(*texts) == over("d.user")


def test_a_shadow_limits_failure_is_no_reason():
    """It decides nothing, so its counter may be away; beside another failure it is not the one named."""
    rig = away(b"user")
    assert rig.reason("user=x", "shadow=x") is None
    assert away().reason("shadow=x", "error=x").limit == "d.error"
    assert away().reason("shadow=x", "allow=x").limit == "d.allow"


def test_a_store_that_answers_with_an_error_is_not_called_away():
    """It failed, and the kind says how."""
    reason = Reason(ReasonKind.STORE_FAILURE, "d.x", FailureKind.OUT_OF_MEMORY, OnStoreFailure.DENY)
    assert reason.sentence.startswith("store failed (out_of_memory), denied by on_store_failure: deny")


@pytest.mark.parametrize("kind", [kind for kind in ReasonKind if kind is not ReasonKind.STORE_FAILURE])
def test_every_other_kind_has_a_sentence(kind):
    """It names the limit if there is one."""
    sentence = Reason(kind, "d.user").sentence
    assert ("d.user" in sentence) is (kind not in {ReasonKind.NO_POLICY, ReasonKind.INTERNAL_ERROR})


def test_the_fields_leave_out_what_is_not_there():
    """A reason as names and values."""
    failed = Reason(ReasonKind.STORE_FAILURE, "d.x", FailureKind.TIMEOUT, OnStoreFailure.DENY)
    assert failed.fields == {
        "reason": "store_failure",
        "limit": "d.x",
        "failure": "timeout",
        "on_store_failure": "deny",
    }
    assert Reason(ReasonKind.NO_POLICY).fields == {"reason": "no_policy"}
