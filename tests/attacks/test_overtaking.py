"""Calls that are sent while another caller's work waits are answered before it is done: counted in bytes, not timed."""

import pytest

from testkit.attacks.attacker import Attacker, Target
from testkit.attacks.frames import REFLECTION, Calls, block, data, prefixed, request
from testkit.attacks.table import POLICY
from testkit.attacks.victim import BODIES, Caller
from testkit.server import service

pytestmark = [
    pytest.mark.process,
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.scenario("clients that flood, reset streams, or do not read"),
]

TRIES = 20
"""Enough for one in which this process was not kept from its core while the service worked."""

CALLS = 3
"""One after the other: answers that are ready are written in the turn in which the first call is answered."""

QUIET = 0.3
"""Seconds without a byte after which everything has come."""


def batch(bodies):
    """Calls in one write, each time on new streams."""
    calls = Calls(list(bodies), block())
    return lambda peer: peer.send(calls.on(peer.streams(calls.size)))


def burst():
    """1,000 calls."""
    return batch(request(("tenant", f"b{n}")) for n in range(1_000))


def wide():
    """200 calls of 64 descriptors."""
    return batch(request(("tenant", f"w{n}"), times=64) for n in range(200))


def messages():
    """300 messages of a reflection stream: their answers are fewer bytes than a stream sends ahead."""
    some = prefixed(b"") * 300
    return lambda peer: peer.send(data(peer.open(1, block(REFLECTION))[0], some))


@pytest.mark.parametrize("work", [burst, wide, messages])
def test_calls_overtake_the_work_of_others(work, where):
    """At least once, half of the answers to the work come after the answers to calls that were sent after it."""
    begin = work()
    with service("nghttp2", POLICY, where.server) as subject:
        attacker = Attacker(Target(subject.address))
        attacker.begin(60)
        peer, caller = attacker.grpc(), Caller(subject.address)
        caller.call(BODIES[0])
        shares = []
        while len(shares) < TRIES and max(shares, default=0) < 0.5:
            peer.heard(QUIET)
            before = peer.received
            begin(peer)
            peer.heard(1)
            assert [caller.call(body) for body in BODIES[:CALLS]] == ["0"] * CALLS
            peer.read()
            early = peer.received - before
            while peer.heard(QUIET):
                pass
            assert not peer.closed
            shares.append(1 - early / (peer.received - before))
        caller.close()
        peer.close()
    assert max(shares) >= 0.5, shares
