"""/rlconfig: envoyproxy/ratelimit's lines, sorted, and what ours add."""

import asyncio

import pytest

from ratelimitd.admin.rlconfig import SLICE, line, render
from ratelimitd.algorithms import Rate, Reserve
from ratelimitd.policy import Charging, DescriptorNode, Domain, Limit, OnStoreFailure, Policy, Queue, Unit
from tests.turning import turning


def rate(algorithm="fixed_window", burst=20, *, count_rejected=True):
    return Rate(algorithm, 20, 60_000_000, burst, count_rejected, ())


PLAIN = Limit(rate(), 20, Unit.MINUTE)


def grow(parent, key, value=b"", *limits):
    node = DescriptorNode(key, value, limits)
    parent.add_child(node)
    return node


def policy(*roots):
    return Policy({name: Domain(name, root, "fixed_window", False) for name, root in roots}, [])


async def listing(given):
    return b"".join([chunk async for chunk in render(lambda: given)]).decode()


async def test_lines_are_upstreams_and_sorted():
    """Domains, nested descriptors and keys without a value, in the order of their text."""
    shop, api = DescriptorNode(), DescriptorNode()
    tenant = grow(shop, b"tenant", b"gold", PLAIN)
    grow(tenant, b"path", b"", Limit(rate(), 5, Unit.SECOND, shadow_mode=True))
    grow(shop, b"a", b"", Limit(rate(), 7, Unit.WEEK, quota_mode=True))
    grow(api, b"user", b"", PLAIN)
    assert await listing(policy((b"shop", shop), (b"api", api))) == (
        "api.user: unit=MINUTE requests_per_unit=20, shadow_mode: false, quota_mode: false\n"
        "shop.a: unit=WEEK requests_per_unit=7, shadow_mode: false, quota_mode: true\n"
        "shop.tenant_gold.path: unit=SECOND requests_per_unit=5, shadow_mode: true, quota_mode: false\n"
        "shop.tenant_gold: unit=MINUTE requests_per_unit=20, shadow_mode: false, quota_mode: false\n"
    )


async def test_wildcards_are_listed_once():
    """With their pattern, as the file has it."""
    root = DescriptorNode()
    for value in (b"/b*", b"/a*"):
        root.add_child(DescriptorNode(b"path", value, (PLAIN,)))
    assert [text.split(":")[0] for text in (await listing(policy((b"d", root)))).splitlines()] == [
        "d.path_/a*",
        "d.path_/b*",
    ]


async def test_without_a_policy_it_is_empty():
    """As upstream's is before the first one is loaded."""
    assert await listing(None) == ""


BASE = "d.k: unit=MINUTE requests_per_unit=20, shadow_mode: false, quota_mode: false"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (PLAIN, BASE),
        (
            Limit(None, unit=Unit.HOUR, requests_per_unit=9),
            "d.k: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: false",
        ),
        (PLAIN._replace(rate=rate("token_bucket", 100)), f"{BASE} algorithm: token_bucket burst: 100"),
        (PLAIN._replace(rate=rate("sliding_window")), f"{BASE} algorithm: sliding_window"),
        (PLAIN._replace(item="hourly"), f"{BASE} limit: hourly"),
        (PLAIN._replace(unit_multiplier=6), f"{BASE} unit_multiplier: 6"),
        (PLAIN._replace(rate=rate(count_rejected=False)), f"{BASE} count_rejected: false"),
        (PLAIN._replace(charge=Charging.AFTER), f"{BASE} charge: after"),
        (PLAIN._replace(charge=Charging.BEFORE), f"{BASE} charge: before"),
        (PLAIN._replace(charge=Charging.AFTER, reserve=Reserve(amount=5)), f"{BASE} reserve: 5 ttl: 300s"),
        (PLAIN._replace(queue=Queue(5, 2_500_000)), f"{BASE} queue: 5 for 2.5s"),
        (PLAIN._replace(on_store_failure=OnStoreFailure.LOCAL), f"{BASE} on_store_failure: local"),
    ],
)
def test_what_upstream_lacks_is_appended(limit, expected):
    """A limit that upstream could express has upstream's line, any other says how it differs."""
    assert line("d.k", limit) == expected + "\n"


async def test_odd_bytes_stay_on_their_line():
    """A value with a line break or outside UTF-8 neither splits the line nor ends the listing."""
    root = DescriptorNode()
    grow(root, b"k", b"a\nb\xff", PLAIN)
    assert (await listing(policy((b"d", root)))).startswith("d.k_a\\nb\\xff: unit=MINUTE")


async def test_a_policy_replaced_meanwhile_is_listed_anew():
    """A reload takes the old policy apart under the listing, which then lists the new one whole."""
    old, new = DescriptorNode(), DescriptorNode()
    for i in range(3 * SLICE):
        grow(old, b"old", b"%d" % i, PLAIN)
    grow(new, b"new", b"", PLAIN)
    in_force = [policy((b"d", old))]

    async def replace():
        in_force[:] = [policy((b"d", new))]
        old.children.clear()

    replacing = asyncio.create_task(replace())
    chunks = [chunk async for chunk in render(lambda: in_force[0])]
    await replacing
    assert b"".join(chunks).startswith(b"d.new: ")


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.scenario("the event loop is blocked")
async def test_100_000_limits_are_sorted_in_slices():
    """The loop turns for every slice that is read or written, and the whole is sorted all the same."""
    root = DescriptorNode()
    for i in range(100_000):
        grow(root, b"k", b"%d" % (i * 7919 % 100_000), PLAIN)
    large = policy((b"d", root))
    with turning() as turns:
        chunks = [chunk async for chunk in render(lambda: large)]
    lines = b"".join(chunks).splitlines()
    assert lines == sorted(lines)
    assert len(lines) == 100_000
    assert max(chunk.count(b"\n") for chunk in chunks) == SLICE
    assert turns.count >= 2 * 100_000 // SLICE
