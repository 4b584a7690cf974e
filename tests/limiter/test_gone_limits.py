"""What is kept of limits whose costs come afterwards, after a reload without them."""

import pytest

from ratelimitd.limiter.places import limit_at
from ratelimitd.limiter.post_paid import PRUNED
from ratelimitd.limiter.switches import FADES
from ratelimitd.policy import Descriptor, Override, Unit
from ratelimitd.policy_file import parse
from ratelimitd.sharded import SMALL
from ratelimitd.stores import MemoryStore
from tests.contract.asking import START, Caller

BUCKET = "unit: hour, requests_per_unit: 50, algorithm: token_bucket"


def tree(*keys, more=""):
    """A descriptor for each key."""
    return "descriptors:\n" + "".join(f"- {{key: {key}, rate_limit: {{{BUCKET}{more}}}}}\n" for key in keys)


def reloaded(caller, text):
    """Load a policy, and forget what it has not; returns the number of parts."""
    caller.load(text)
    return sum(1 for _ in caller.post_paid.prune(caller.engine.planner.policy, START))


def switched(caller):
    return [switch.name for switch in caller.post_paid.switched_on()]


async def zeros(caller, *keys):
    for key in keys:
        for _ in range(3):
            await caller.ask((key, 0))


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        (tree("a"), True),
        (tree("a").replace("50", "70"), True),
        (tree("c"), False),
        ("", False),
        (tree("a").replace("hour", "day"), False),
        (tree("a").replace("token_bucket", "gcra"), False),
        (tree("a").replace("rate_limit: {", "rate_limits: [{name: n, ").replace("bucket}", "bucket}]"), False),
        (tree("a", more=", charge: before"), False),
    ],
)
async def test_a_switch_goes_with_its_limit(text, stays):
    """Or with its place, name, algorithm or window, or if the policy says what its hits mean; others stay."""
    caller = Caller(MemoryStore(1 << 20), tree("a", "b"))
    await zeros(caller, "a", "b")
    assert switched(caller) == ["d.a", "d.b"]
    text = (text or "descriptors:\n") + tree("b").partition("\n")[2]
    reloaded(caller, text)
    assert sorted(switched(caller)) == ["d.a"] * stays + ["d.b"]
    assert len(caller.post_paid.switches) == 1 + stays
    await zeros(caller, "b")
    caller.post_paid.fade(START + FADES)
    assert switched(caller) == []


async def test_a_limit_that_comes_back_has_a_switch_of_its_own():
    """Nothing of the one that was there before."""
    caller = Caller(MemoryStore(1 << 20), tree("a"))
    await zeros(caller, "a")
    reloaded(caller, tree("b"))
    reloaded(caller, tree("a"))
    await caller.ask(("a", 0))
    assert switched(caller) == []
    await zeros(caller, "a")
    assert switched(caller) == ["d.a"]


async def test_the_switch_of_overrides_goes_with_their_domain():
    """Or when that has a ``default_charge``."""
    for more, stays in (("default_algorithm: gcra\n", 1), ("default_charge: before\n", 0)):
        caller = Caller(MemoryStore(1 << 20), "default_algorithm: gcra\n")
        for _ in range(3):
            await caller.ask(Descriptor(((b"k", b"x"),), Override(50, Unit.HOUR), 0))
        reloaded(caller, more)
        assert len(caller.post_paid.switches) == len(switched(caller)) == stays
    elsewhere = parse([("p.yaml", b"domain: other\n")])
    assert limit_at(elsewhere, (b"d", b"=", "", "", 0)) is None


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        (tree("a", more=", reserve: {}"), True),
        (tree("a", more=", reserve: {ttl: 9s}"), True),
        (tree("a", more=", reserve: {amount: 7}"), False),
        (tree("a"), False),
        (tree("b", more=", reserve: {}"), False),
    ],
)
async def test_an_amount_goes_with_its_limit(text, stays):
    """Or with its ``amount: auto``: from what the pages list, and the gauge from the metrics."""
    caller = Caller(MemoryStore(1 << 20), tree("a", more=", reserve: {start: 20}"))
    await caller.ask(("a", 0))
    assert (dict(caller.post_paid.amounts()), caller.after("a").reserve_amount) == ({"d.a": 20}, 20)
    await caller.ask(("a", 2))
    learnt = caller.after("a").reserve_amount
    assert 0 < learnt < 20
    reloaded(caller, text)
    assert dict(caller.post_paid.amounts()) == ({"d.a": learnt} if stays else {})
    assert caller.after("a").reserve_amount == learnt * stays


async def test_an_amount_is_shown_before_anything_has_settled():
    """Of each series of a limit, as it is for all of them; of no limit that holds nothing, or what the policy says."""
    caller = Caller(
        MemoryStore(1 << 20),
        tree("a", more=", reserve: {start: 20}").replace("key: a", "key: a, detailed_metric: true"),
    )
    for value in ("x", "y"):
        await caller.ask(Descriptor(((b"a", value.encode()),), hits=0))
    await caller.ask(Descriptor(((b"a", b"x"),), hits=2))
    first, second = [tally.after.reserve_amount for tally in caller.tallies]
    assert 0 < first == second < 20
    for more in (", charge: after", ", reserve: {amount: 7}"):
        other = Caller(MemoryStore(1 << 20), tree("b", more=more))
        await other.ask(("b", 0))
        await other.ask(("b", 2))
        assert other.after("b").reserve_amount == 0


async def test_what_was_told_of_a_limit_goes_with_it():
    """So the first costs that it forgets are told again when it comes back; of one that stays they are not."""
    caller, told = Caller(MemoryStore(1 << 20), tree("a", "b")), []
    caller.post_paid.forgot = told.append
    for key in ("a", "b"):
        await caller.ask((key, 60))
    reloaded(caller, tree("b"))
    reloaded(caller, tree("a", "b"))
    for key in ("a", "b"):
        await caller.ask((key, 60))
    assert told == ["d.a", "d.b", "d.a"]


@pytest.mark.scenario("the event loop is blocked")
@pytest.mark.parametrize("many", [SMALL // 2, SMALL + 100])
async def test_very_many_limits_are_looked_for_in_parts(many):
    """However many there are, a step looks for so many; requests go on meanwhile."""
    caller = Caller(MemoryStore(1 << 26), tree(*[f"k{n}" for n in range(many)]))
    post_paid = caller.post_paid
    for n in range(many):
        await caller.ask((f"k{n}", 0))
    await zeros(caller, "k0", "k1")
    assert isinstance(post_paid.switches, dict) is (many < SMALL)
    assert switched(caller) == ["d.k0", "d.k1"]
    caller.load(tree("k0", "new"))
    looked = [0]

    class Looked(dict):
        """Counts the look-ups of a step."""

        def get(self, key):
            looked[-1] += 1
            return super().get(key)

    policy = caller.engine.planner.policy
    policy = policy._replace(domains=Looked(policy.domains))
    for number, _ in enumerate(post_paid.prune(policy, START)):
        looked.append(0)
        if number == 3:
            await zeros(caller, "new")
    assert max(looked) <= PRUNED
    assert sum(looked) >= many
    assert sorted(switched(caller)) == ["d.k0", "d.new"]
    assert len(post_paid.switches) == 2
