"""A caller that breaks no bound, on a real service: what it costs us is in proportion to what it costs the caller.

Nothing is compared with a time: CPU with the attacker's CPU, memory with what was sent or with a bound, and others with
what they see without the attack, in the same run. ``bench attacks`` measures the same attacks on a quiet machine.
"""

import pytest

from testkit.attacks import ATTACKS, Moments, measured

pytestmark = [
    pytest.mark.process,
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.scenario("clients that flood, reset streams, or do not read"),
]

MOMENTS = Moments(alone=0.7, lead=0.3, beside=1.7)
MEASUREMENTS = 3
"""At most, where other work on the machine spoils them."""

MIB = 1 << 20

PRICES = {
    "compressed": 30,
    "hpack_reconnects": 12,
    "json": 20,
}
"""CPU seconds of the service for one of the attacker's, at most. Honest calls of prepared bytes come to 10 to 20."""

HELD = {
    "unfinished": 40 * MIB,
    "redis_bulk": 32 * MIB,
    "bombs": 8 * MIB,
}
"""Bytes that an attack may make the service hold, at most."""


def judged(name, where, wrong):
    """Measure until nothing is wrong, or the machine was quiet; return what is wrong."""
    for _ in range(MEASUREMENTS):
        found = measured(name, ATTACKS[name], MOMENTS, where)
        seen = wrong(found)
        if not (seen and found.noisy):
            break
    return seen


@pytest.mark.parametrize("name", PRICES)
def test_an_attack_costs_little_more_than_it_costs_the_attacker(name, where):
    """The service takes no more than so many times the CPU of the attacker."""
    assert judged(name, where, lambda found: found.price > PRICES[name] and f"{found.price:.1f} times") is False


@pytest.mark.parametrize("name", HELD)
def test_what_an_attack_makes_the_service_hold_is_bounded(name, where):
    """The service's memory grows by no more than the bound that holds for all connections together."""
    assert judged(name, where, lambda found: found.held > HELD[name] and f"{found.held / MIB:.0f} MiB") is False


@pytest.mark.parametrize("name", ["watch", "silent_http", "silent_debug", "silent_grpc", "redis_array", "redis_hosts"])
def test_others_have_a_place(name, where):
    """Every ask of the others is answered: calls, new connections, the liveness probe and Watch streams."""
    assert judged(name, where, lambda found: list(found.beside.failed)) == []
