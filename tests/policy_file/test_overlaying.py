"""What an overlay does to the limits of a policy."""

import pytest

from ratelimitd.algorithms import SECOND, Reserve
from ratelimitd.policy import Charging, OnStoreFailure, Queue
from ratelimitd.policy_file import examine, read_overlay
from ratelimitd.policy_file.overlay import ENTRIES_MAX
from ratelimitd.policy_file.overlaying import LEFT_MAX, REASONS_MAX, Effect, Given, overlaid

SHOP = """\
domain: shop
descriptors:
- key: user
  rate_limit: {unit: minute, requests_per_unit: 100}
  descriptors:
  - {key: path, value: /a, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: path, value: /b, rate_limit: {unit: hour, requests_per_unit: 10}}
- {key: free, rate_limit: {unlimited: true}}
"""


def examined(policy, overlay, **options):
    """A policy with an overlay, whose entries have these texts."""
    text = "".join(["overlay:\n", *(f"- {{{entry}}}\n" for entry in overlay)]) if overlay else "overlay: []"
    parsed = examine([("p.yaml", policy.encode())], overlay=read_overlay("o.yaml", text.encode()), **options)
    assert parsed.errors == []
    return parsed


def limits(policy, *overlay, **options):
    """Limits by the name of their descriptor."""
    return {row.key.decode() + row.value.decode(): row.limits for row in examined(policy, overlay, **options).rows[1:]}


def one(limit, *overlay, head="", more="", **options):
    """The only limit of a policy."""
    policy = f"domain: d\n{head}descriptors:\n- {{key: k, rate_limit: {{{limit}}}{more}}}\n"
    ((found,),) = limits(policy, *overlay, **options).values()
    return found


PLAIN = "unit: hour, requests_per_unit: 10"


def test_a_limit_gets_what_the_overlay_says():
    """Each key has the effect that it has in a policy file."""
    found = one(
        PLAIN,
        'domain: "*", algorithm: token_bucket, burst: 20, charge: after, reserve: {amount: 5}, on_store_failure: local',
    )
    assert (found.rate.algorithm, found.rate.quota, found.rate.burst) == ("token_bucket", 10, 20)
    assert (found.charge, found.reserve.amount, found.on_store_failure) == (Charging.AFTER, 5, OnStoreFailure.LOCAL)
    assert not found.upstream
    assert one(PLAIN, "domain: d, charge: before").charge is Charging.BEFORE


def test_an_overlay_may_say_how_requests_wait():
    """For limits of either kind; what the policy says of its own queue applies."""
    said = "domain: d, queue: {length: 5, timeout: 2s}"
    assert one(PLAIN, said).queue == one("concurrent: 5", said).queue == Queue(5, 2 * SECOND)
    assert one(f"{PLAIN}, queue: {{}}", said).queue == Queue()


def test_without_an_entry_for_it_a_limit_is_as_it_was():
    """Also its counter's name."""
    assert one(PLAIN, "domain: e, algorithm: gcra") == one(PLAIN)
    assert one(PLAIN).upstream


def test_an_entry_is_for_the_limits_of_its_path_alone():
    """The limit above and the one beside it stay."""
    found = limits(SHOP, "domain: shop, path: [user, path=/a], algorithm: gcra")
    kinds = {name: limit.rate and limit.rate.algorithm for name, (limit,) in found.items()}
    assert kinds == {"user": "fixed_window", "path/a": "gcra", "path/b": "fixed_window", "free": None}


def test_limits_say_what_the_overlay_said_of_them():
    """The keys, each with the line of its entry."""
    found = limits(
        SHOP, "domain: s*, default_algorithm: gcra", "domain: shop, path: ['**', path=/b], burst: 3, charge: after"
    )
    assert [limit.overlaid for (limit,) in found.values()] == [
        (("default_algorithm", 2),),
        (("default_algorithm", 2),),
        (("default_algorithm", 2), ("burst", 3), ("charge", 3)),
        (),
    ]


def test_the_later_entry_applies_key_by_key():
    """What only the earlier one says stays."""
    found = one(PLAIN, "domain: d, algorithm: gcra, burst: 5", "domain: '*', burst: 7", "domain: e, burst: 9")
    assert (found.rate.algorithm, found.rate.burst) == ("gcra", 7)
    assert found.overlaid == (("algorithm", 2), ("burst", 3))


def test_the_order_of_entries_is_no_reason_against_one():
    """A burst may come before the algorithm that has it."""
    found = one(PLAIN, "domain: d, burst: 7", "domain: d, algorithm: gcra")
    assert (found.rate.algorithm, found.rate.burst) == ("gcra", 7)


@pytest.mark.parametrize(
    ("written", "said", "stays"),
    [
        ("algorithm: gcra", "algorithm: leaky_bucket", lambda limit: limit.rate.algorithm == "gcra"),
        ("algorithm: gcra", "default_algorithm: leaky_bucket", lambda limit: limit.rate.algorithm == "gcra"),
        ("algorithm: gcra, burst: 3", "burst: 5", lambda limit: limit.rate.burst == 3),
        ("charge: before", "charge: after", lambda limit: limit.charge is Charging.BEFORE),
        ("charge: before", "default_charge: after", lambda limit: limit.charge is Charging.BEFORE),
        ("reserve: {amount: 2}", "reserve: {amount: 5}", lambda limit: limit.reserve.amount == 2),
    ],
)
def test_what_the_policy_writes_for_a_limit_applies(written, said, stays):
    """An overlay gives defaults."""
    found = one(f"{PLAIN}, {written}", f"domain: d, {said}")
    assert stays(found)
    assert found.overlaid == ()


def test_what_a_descriptor_writes_of_store_failures_applies():
    """It is a key of the descriptor, for its limits."""
    entry = "domain: d, on_store_failure: deny"
    assert one(PLAIN, entry, more=", on_store_failure: allow").on_store_failure is OnStoreFailure.ALLOW
    assert one(PLAIN, entry).on_store_failure is OnStoreFailure.DENY


def test_defaults_of_a_domain():
    """They are those of its overrides too; what its policy writes applies, and an entry for limits goes before both."""
    entries = ("domain: d, default_algorithm: gcra, default_charge: after",)
    row = examined(f"domain: d\ndescriptors:\n- {{key: k, rate_limit: {{{PLAIN}}}}}\n", entries).rows[0]
    assert (row.default_algorithm, row.default_charge) == ("gcra", Charging.AFTER)
    found = one(PLAIN, *entries, default_algorithm="leaky_bucket")
    assert (found.rate.algorithm, found.charge) == ("gcra", Charging.AFTER)
    head = "default_algorithm: sliding_window\ndefault_charge: before\n"
    row = examined(f"domain: d\n{head}", entries).rows[0]
    assert (row.default_algorithm, row.default_charge) == ("sliding_window", Charging.BEFORE)
    written = one(PLAIN, *entries, head=head)
    assert (written.rate.algorithm, written.charge, written.overlaid) == ("sliding_window", Charging.BEFORE, ())
    assert one(PLAIN, *entries, "domain: d, algorithm: token_bucket", head=head).rate.algorithm == "token_bucket"


@pytest.mark.parametrize("limit", ["unlimited: true", "concurrent: 5"])
def test_defaults_mean_nothing_to_a_limit_without_a_counter(limit):
    """As in a policy file, so there is nothing to tell."""
    entry = "domain: d, default_algorithm: gcra, default_charge: after"
    found = examined(f"domain: d\ndescriptors:\n- {{key: k, rate_limit: {{{limit}}}}}\n", [entry])
    assert found.rows[1].limits[0].overlaid == ()
    assert found.effects[0].left == {}


def test_a_default_charge_means_nothing_beside_a_reserve():
    """What is held is charged afterwards."""
    found = one(PLAIN, "domain: d, default_charge: before", "domain: d, reserve: {amount: 5}")
    assert (found.charge, found.reserve, found.overlaid) == (Charging.AFTER, Reserve(5), (("reserve", 3),))
    assert one(f"{PLAIN}, reserve: {{amount: 5}}", "domain: d, default_charge: before").overlaid == ()


@pytest.mark.parametrize(
    ("limit", "said", "why"),
    [
        (PLAIN, "burst: 5", "burst is for token_bucket, gcra and leaky_bucket"),
        ("unlimited: true", "algorithm: gcra", "an unlimited limit has no counter: remove algorithm"),
        ("unlimited: true", "reserve: {}", "an unlimited limit has no counter: remove reserve"),
        ("concurrent: 5", "charge: after", "'concurrent' limits requests in progress"),
        (PLAIN, "reserve: {amount: 6}", "'amount' of 'reserve' must be from 1 to 5 with a limit of 10"),
        ("unit: hour, requests_per_unit: 0", "reserve: {amount: 1}", "a limit of 0 denies all"),
        ("unit: hour, requests_per_unit: 0", "algorithm: gcra, burst: 5", "a limit of 0 requests never refills"),
        (f"{PLAIN}, charge: before", "reserve: {amount: 1}", "'charge: before' says that they do not"),
        (f"{PLAIN}, count_rejected: false", "algorithm: gcra", "count_rejected"),
    ],
)
def test_an_entry_that_cannot_apply_to_a_limit_leaves_it_as_it_was_sent(limit, said, why):
    """All of the entry, not a part of it; and the entry knows which limit, and why."""
    policy = f"domain: d\ndescriptors:\n- {{key: k, value: v, rate_limit: {{{limit}}}}}\n"
    found = examined(policy, [f"domain: d, on_store_failure: local, {said}"])
    (effect,) = found.effects
    assert found.rows[1].limits == examined(policy, []).rows[1].limits
    ((reason, left),) = effect.left.items()
    assert why in reason
    assert (effect.limits, left.why, left.count, left.first) == (1, reason, 1, ["d.k_v"])


def test_the_other_entries_still_apply():
    """The one at fault is that whose key does not fit; here the first, then the last."""
    found = one(PLAIN, "domain: d, burst: 5, charge: after", "domain: d, on_store_failure: allow")
    assert (found.charge, found.on_store_failure) == (Charging.UNSAID, OnStoreFailure.ALLOW)
    found = one(PLAIN, "domain: d, algorithm: gcra", "domain: d, reserve: {amount: 9}", "domain: d, burst: 5")
    assert found.overlaid == (("algorithm", 2), ("burst", 4))
    found = one(PLAIN, "domain: d, reserve: {amount: 5}", "domain: d, charge: before")
    assert found.overlaid == (("charge", 3),)


def test_a_later_entry_that_cannot_apply_gives_way_to_an_earlier_one():
    """Which says the same key."""
    found = one(PLAIN, "domain: d, reserve: {amount: 5}", "domain: d, reserve: {amount: 9}")
    assert (found.reserve.amount, found.overlaid) == (5, (("reserve", 2),))


def test_a_default_that_cannot_apply_to_a_limit_leaves_it():
    """A burst that the policy writes, since its default algorithm has one."""
    policy = "domain: d\ndescriptors:\n- {key: k, rate_limit: {unit: hour, requests_per_unit: 10, burst: 20}}\n"
    found = examined(policy, ["domain: d, default_algorithm: sliding_window"], default_algorithm="gcra")
    assert found.rows[1].limits[0].rate.algorithm == "gcra"
    assert [left.first for left in found.effects[0].left.values()] == [["d.k"]]


def test_an_overlay_makes_no_invalid_policy_valid():
    """Else the policy would be rejected as soon as the overlay is gone."""
    overlay = read_overlay("o.yaml", b"overlay: [{domain: d, algorithm: gcra}]")
    policy = b"domain: d\ndescriptors:\n- {key: k, rate_limit: {unit: hour, requests_per_unit: 10, burst: 20}}\n"
    assert examine([("p.yaml", policy)], overlay=overlay).errors == examine([("p.yaml", policy)]).errors != []


def test_each_of_several_limits_is_a_limit():
    """It is counted, changed and named by itself."""
    policy = (
        "domain: d\ndescriptors:\n- key: k\n  rate_limits:\n"
        f"  - {{{PLAIN}, name: a}}\n  - {{{PLAIN}, algorithm: gcra}}\n  - {{{PLAIN}, name: c}}\n"
    )
    found = examined(policy, ["domain: d, burst: 5"])
    (effect,) = found.effects
    assert [limit.rate.burst for limit in found.rows[1].limits] == [10, 5, 10]
    assert (effect.domains, effect.limits) == (1, 3)
    assert [(left.count, left.first) for left in effect.left.values()] == [(2, ["d.k [a]", "d.k [c]"])]


def test_entries_know_what_they_are_for():
    """Domains and limits are counted, also those to which they cannot apply; an entry that is for none is known."""
    found = examined(
        SHOP,
        [
            'domain: "*", default_algorithm: gcra',
            "domain: shop, path: [user, '*=*'], burst: 3",
            "domain: shop, path: [other], burst: 3",
            "domain: other, default_charge: after",
            "domain: shop, path: ['**'], algorithm: gcra",
        ],
    ).effects
    assert [(effect.domains, effect.limits, effect.unused) for effect in found] == [
        (1, 4, False),
        (1, 2, False),
        (1, 0, True),
        (0, 0, True),
        (1, 4, False),
    ]
    empty = examined("domain: shop\n", ["domain: shop, default_algorithm: gcra", "domain: shop, burst: 3"]).effects
    assert [effect.unused for effect in empty] == [False, True]


def test_reasons_are_bounded():
    """A policy of 50,000 limits, each with its own reason, leaves a screenful."""
    nodes = "".join(
        f"- {{key: k{number}, rate_limit: {{unit: hour, requests_per_unit: {number}}}}}\n" for number in range(2, 60)
    )
    (effect,) = examined(f"domain: d\ndescriptors:\n{nodes}", ["domain: d, reserve: {amount: 1000}"]).effects
    assert len(effect.left) == REASONS_MAX
    assert sum(left.count for left in effect.left.values()) == 58


def test_trials_of_a_limit_are_bounded():
    """An overlay of which nothing fits is left at once after some entries, each of them told; else it delays a load."""
    entries = [f"domain: d, burst: {number + 1}" for number in range(ENTRIES_MAX)]
    policy = f"domain: d\ndescriptors:\n- {{key: k, rate_limit: {{{PLAIN}}}}}\n"
    made = []
    sent = examined(policy, []).rows[1].limits[0]
    text = "".join(["overlay:\n", *(f"- {{{entry}}}\n" for entry in entries)])
    effects = list(map(Effect, read_overlay("o.yaml", text.encode()).entries))

    def make(said):
        made.append(said)
        return "no"

    assert overlaid(Given("d.k", effects, ()), {}, sent, "", make) == sent
    assert len(made) == LEFT_MAX + 1
    assert all(effect.left["no"].first == ["d.k"] for effect in effects)


def test_equal_limits_stay_one():
    """A policy of 50,000 equal limits is one limit in memory, with an overlay too."""
    found = limits(SHOP, "domain: shop, algorithm: gcra")
    assert found["path/a"] is found["path/b"]
    assert found["path/a"][0].rate is found["path/b"][0].rate


def test_domains_of_several_files():
    """With MERGE_DOMAIN_CONFIG the default of one file is written for all."""
    files = [("a.yaml", b"domain: d\ndefault_algorithm: gcra\n"), ("b.yaml", SHOP.replace("shop", "d").encode())]
    overlay = read_overlay("o.yaml", b"overlay: [{domain: d, default_algorithm: leaky_bucket}]")
    parsed = examine(files, merge_domains=True, overlay=overlay)
    assert {row.limits[0].rate.algorithm for row in parsed.rows[1:-1]} == {"gcra"}
    assert parsed.effects[0].domains == 1
