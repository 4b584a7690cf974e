"""What the engine decides is what the documents show: exactly while there is little, with every kind of limit."""

import pytest

from ratelimitd.limiter import Failure, FailureKind, Modes, NewKeys
from ratelimitd.policy import Descriptor, Override, Unit
from tests.live.watched import SECOND, START, Watched, minute

USER = b"4:user"
POLICY = """
domain: d
descriptors:
- {key: user, rate_limit: {unit: hour, requests_per_unit: 3}}
- {key: method, value: GET, rate_limit: {unit: minute, requests_per_unit: 2}, shadow_mode: true}
- {key: tokens, rate_limit: {unit: minute, requests_per_unit: 100, algorithm: token_bucket}}
- {key: free, rate_limit: {unlimited: true}}
"""


def test_five_requests_show_as_five():
    """A newcomer's curl: three pass, two are denied by this limit, and its key is told; at once, and in the step."""
    watched = Watched(POLICY)
    for _ in range(5):
        watched.call("user=alice")
    shown = watched.limit(USER)
    assert shown["limit"]["totals"] == {"allowed": 3, "denied": 2, "shadowed": 0, "failed": 0}
    assert minute(shown, "user=alice") == (5, 2)
    assert shown["limit"]["active_keys"] == 1
    assert shown["limit"]["use"] == 1.0
    (key,) = shown["keys"]
    assert (key["descriptor"], key["used"], key["remaining"], key["seen"]) == ("user=alice", 3, 0, START / SECOND)
    (denial,) = shown["denials"]
    assert (denial["limit"], denial["key"], denial["count"], denial["cost"]) == ("d.user", "user=alice", 2, 1)
    assert denial["summary"] == "3 per hour"
    assert (denial["used"], denial["reason"], denial["shadow"]) == (4, "over_limit", False)
    watched.tick(10)
    watched.tick(1)
    assert watched.limit(USER)["limit"]["rates"] == {"allowed": 0.3, "denied": 0.2, "shadowed": 0.0, "failed": 0.0}
    shown = watched.overview()
    assert shown["totals"] == {"allowed": 3, "denied": 2, "shadowed": 0, "failed": 0}
    assert shown["decisions"] == {"ok": 0.3, "over_limit": 0.2, "failed": 0.0}
    assert watched.limit(USER)["history"]["allowed"][-1] == 3


def test_a_shadow_limit_denies_nothing():
    """Its hits past the limit are shadowed, its denials marked; a value that the policy names is shown as it is."""
    watched = Watched(POLICY)
    for _ in range(5):
        watched.call("method=GET")
    (row,) = watched.limits(search="method")["limits"]
    assert row["totals"] == {"allowed": 2, "denied": 0, "shadowed": 3, "failed": 0}
    assert row["mode"] == "shadow"
    (denial,) = watched.denials(plain=False)
    assert (denial["key"], denial["shadow"], denial["count"]) == ("method=GET", True, 3)


def test_shadow_mode_makes_a_shadow_of_every_limit():
    """SHADOW_MODE lets all pass."""
    watched = Watched(POLICY, modes=Modes(shadow=True))
    for _ in range(5):
        watched.call("user=x")
    row = watched.limit(USER)["limit"]
    assert (row["totals"]["denied"], row["totals"]["shadowed"], row["mode"]) == (0, 2, "shadow")


@pytest.mark.parametrize(("hits", "rest"), [(7, 93), (100, 0)])
def test_hits_count_as_many_as_they_are(hits, rest):
    """``hits_addend``, also of a bucket."""
    watched = Watched(POLICY)
    watched.call("tokens=x", hits=hits)
    shown = watched.limit(b"6:tokens")
    assert (minute(shown, "tokens=x"), shown["keys"][0]["remaining"]) == ((hits, 0), rest)


def test_what_ratelimitd_check_asks_is_shown():
    """It charges for real, and may be all that a newcomer tries."""
    watched = Watched(POLICY)
    for _ in range(5):
        watched.call("user=x", ours=True)
    assert minute(watched.limit(USER), "user=x") == (5, 2)


def test_a_look_is_not():
    """A cost of 0, as of a look-up of an operator, is no hit, nor is its limit one with traffic."""
    watched = Watched(POLICY)
    watched.call(Descriptor(((b"user", b"x"),), hits=0), ours=True)
    assert watched.live.limits == {}


def test_a_veto_charges_nothing_and_denies_once():
    """All or nothing: only the limit that denies has a denial; a hit that it kept away is one of its key."""
    policy = POLICY.replace("domain: d\n", "domain: d\nall_or_nothing: true\n")
    watched = Watched(policy)
    for _ in range(5):
        watched.call("user=x", "tokens=x")
    tokens = watched.limit(b"6:tokens")
    assert tokens["limit"]["totals"]["allowed"] == 3
    assert minute(tokens, "tokens=x") == (5, 0)
    assert [denial["limit"] for denial in watched.denials()] == ["d.user"]


def test_a_question_that_is_denied_is_a_denial():
    """A post-paid limit: requests cost nothing, reports count as hits, and a denied question is told."""
    policy = """
domain: d
descriptors:
- {key: user, rate_limit: {unit: hour, requests_per_unit: 10, charge: after}}
"""
    watched = Watched(policy)
    watched.call(Descriptor(((b"user", b"x"),), hits=0))
    watched.call(Descriptor(((b"user", b"x"),), hits=12))
    answer = watched.call(Descriptor(((b"user", b"x"),), hits=0))
    assert answer.over
    shown = watched.limit(USER)
    assert minute(shown, "user=x")[0] == 12
    (denial,) = shown["denials"]
    assert (denial["cost"], denial["count"]) == (0, 1)


def test_give_backs_are_no_hits():
    """Negative hits give back; nothing is shown of them."""
    watched = Watched(POLICY)
    watched.call(Descriptor(((b"user", b"x"),), hits=2, negative=True))
    assert watched.limit(USER)["keys"] == []


def test_an_override_has_a_row_of_its_keys():
    """Limits that requests carry have one row for the same keys, whatever their numbers."""
    watched = Watched(POLICY)
    for quota in (1, 1, 2):
        watched.call(Descriptor(((b"user", b"x"),), Override(quota, Unit.MINUTE)))
    (row,) = [each for each in watched.limits()["limits"] if each["override"]]
    assert (row["name"], row["requests_per_unit"], row["where"], row["gone"]) == ("d.user", 2, None, False)
    assert sum(row["totals"].values()) == 3
    assert watched.denials()[0]["reason"] == "override"


def test_values_in_the_names_of_metrics_make_no_rows():
    """``value_to_metric`` and ``detailed_metric``: one row for all values, also past the bound of series."""
    policy = """
domain: d
descriptors:
- {key: user, value_to_metric: true, rate_limit: {unit: hour, requests_per_unit: 1}}
- {key: path, detailed_metric: true, rate_limit: {unit: hour, requests_per_unit: 1}}
"""
    watched = Watched(policy, series=3)
    for number in range(10):
        watched.call(f"user=u{number}")
        watched.call(f"user=u{number}")
    for number in range(10):  # the counter of all further series has hits of users by now
        watched.call(f"path=/{number}")
    rows = {row["name"]: row for row in watched.limits()["limits"]}
    assert set(rows) == {"d.user", "d.path"}
    assert rows["d.user"]["totals"] == {"allowed": 10, "denied": 10, "shadowed": 0, "failed": 0}
    assert rows["d.path"]["totals"]["allowed"] == 10
    assert rows["d.user"]["active_keys"] == 10


def test_the_counter_that_new_keys_share_is_one_key():
    """Past NEW_KEYS_PER_SECOND: shown as what it is, with its reason."""
    guard = NewKeys(1, b"", size=1 << 12)
    for second in range(300):
        guard.before((), START - (300 - second) * SECOND)
    watched = Watched(POLICY, guards=[guard])
    for number in range(9):
        watched.call(f"user=u{number}")
    shared = [key for key in watched.limit(USER)["keys"] if key["shared"]]
    assert [(key["key"], key["descriptor"], key["minute"]["hits"]) for key in shared] == [
        ("(new keys together)", None, 8)
    ]
    assert watched.denials()[0]["reason"] == "new_keys"


class Away:
    def charge(self, asks, now, done):
        for ask in asks:
            ask.outcomes = [Failure(FailureKind.TIMEOUT, "no answer")] * len(ask.outcomes)
        done(asks)


@pytest.mark.parametrize(
    ("policy", "counts", "reason"),
    [("allow", (1, 0, 0, 1), None), ("deny", (0, 1, 0, 1), "store_failure"), ("error", (0, 0, 0, 1), None)],
)
def test_hits_whose_store_failed(policy, counts, reason):
    """They are failed, and also what was decided instead; nothing is told of the counter."""
    written = POLICY.replace("requests_per_unit: 3}", f"requests_per_unit: 3}}, on_store_failure: {policy}")
    watched = Watched(written, store=Away())
    watched.call("user=x")
    shown = watched.limit(USER)
    assert tuple(shown["limit"]["totals"].values()) == counts
    assert [denial["reason"] for denial in watched.denials()] == ([] if reason is None else [reason])
    assert shown["keys"][0]["used"] is None
    watched.tick(11)
    assert watched.overview()["decisions"]["failed"] == (0.1 if policy == "error" else 0)


def test_denials_are_one_a_key_limit_and_second():
    """Later ones of a second raise its count; another key, and the next second, have their own."""
    watched = Watched(POLICY)
    for user in ("a", "b", "a", "b", "a"):
        for _ in range(4):
            watched.call(f"user={user}")
    assert [(denial["key"], denial["count"]) for denial in watched.denials()] == [("user=b", 5), ("user=a", 9)]
    watched.now += SECOND
    watched.call("user=a")
    assert [denial["serial"] for denial in watched.denials()] == [3, 2, 1]
    assert [denial["serial"] for denial in watched.denials(after=2)] == [3]
    assert [denial["serial"] for denial in watched.denials(most=1)] == [3]


def test_a_flood_of_keys_makes_no_denial_of_a_second_two():
    """A key whose denial is among the kept ones of this second raises its count, however many other keys are denied."""
    watched = Watched(
        "domain: d\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 0}}]", most=1 << 19
    )
    most = watched.live.denials.most
    for number in range(most + 5):
        watched.call(f"user={number}")
    watched.call(f"user={most - 1}")
    shown = watched.denials(most=most)
    assert len({each["key"] for each in shown}) == len(shown)
    assert [each["count"] for each in shown if each["key"] == f"user={most - 1}"] == [2]


def test_without_a_tick_for_some_steps_no_rate_is_invented():
    """Hits and requests of several steps together are those of no step: both rates say so alike."""
    watched = Watched(POLICY)
    watched.tick(10)
    for _ in range(50):
        watched.call("user=alice")
    watched.now += 59 * SECOND
    watched.tick()
    shown = watched.overview()
    assert shown["rates"] == {"allowed": 0.0, "denied": 0.0, "shadowed": 0.0, "failed": 0.0}
    assert shown["decisions"] == {"ok": 0.0, "over_limit": 0.0, "failed": 0.0}


def test_a_reload_changes_numbers_and_marks_what_is_gone():
    """A changed limit shows its new number and keeps its counts; one that is gone stays for an hour of its traffic."""
    watched = Watched(POLICY)
    watched.call("user=x")
    watched.call("tokens=x")
    watched.load(POLICY.replace("requests_per_unit: 3}", "requests_per_unit: 4}").replace("key: tokens", "key: other"))
    rows = {row["name"]: row for row in watched.limits()["limits"]}
    assert (rows["d.user"]["requests_per_unit"], rows["d.user"]["totals"]["allowed"]) == (4, 1)
    assert (rows["d.tokens"]["gone"], rows["d.tokens"]["where"]) == (True, None)
    assert not rows["d.other"]["gone"]
    watched.tick(3_620)
    assert "d.tokens" not in {row["name"] for row in watched.limits()["limits"]}
    assert len(watched.live.limits) == 0


def test_without_traffic_a_limit_has_a_row_too():
    """All limits of the policy are listed; unlimited ones as such."""
    rows = {row["name"]: row for row in Watched(POLICY).limits()["limits"]}
    assert len(rows) == 4
    assert rows["d.free"]["unlimited"]
    assert rows["d.user"]["spark"] is None
    assert rows["d.user"]["active_keys"] is None


def test_a_cost_above_the_limit_never_passes():
    """No time is told after which it would."""
    watched = Watched(POLICY)
    watched.call("tokens=x", hits=101)
    (denial,) = watched.denials()
    assert (denial["cost"], denial["reset_after"], denial["burst"]) == (101, None, None)


def test_a_denial_names_the_burst():
    """Eleven used of 5 a second would be a riddle without it."""
    watched = Watched(POLICY.replace("algorithm: token_bucket", "algorithm: token_bucket, burst: 200"))
    watched.call("tokens=x", hits=201)
    (denial,) = watched.denials()
    assert (denial["summary"], denial["burst"]) == ("100 per minute", 200)


def test_a_counter_that_was_reset_is_empty():
    """A bucket that has filled again, though none of its keys was seen since."""
    watched = Watched(POLICY)
    watched.call("tokens=x", hits=10)
    assert watched.limit(b"6:tokens")["limit"]["use"] == 0.1
    watched.tick(7)
    assert watched.limit(b"6:tokens")["limit"]["use"] == 0.0
