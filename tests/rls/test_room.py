"""What calls cost, and that a service takes no more of them than it is given room for."""

import pytest

from ratelimitd.rls import GrpcHealth
from tests.rls.conftest import Call, Request

POLICY = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 1000}}
  - {key: free, rate_limit: {unlimited: true}}
"""


def call(domain="d", key="user", descriptors=1, value="x"):
    request = Request(domain=domain)
    for _ in range(descriptors):
        request.descriptors.add().entries.add(key=key, value=value)
    return Call(request.SerializeToString())


@pytest.mark.parametrize(
    ("named", "cost"),
    [
        ({}, 3),
        ({"descriptors": 20}, 2 + 20 + (4 + 20 * 13 + 19) // 64),
        ({"key": "free"}, 2),
        ({"value": "x" * 640}, 13),
        ({"domain": ""}, 2),
        ({"domain": "", "value": "x" * 640}, 12),
    ],
)
async def test_a_call_costs_its_charges_and_its_bytes(bench, named, cost):
    """Two for the call, one for each charge, one for each 64 bytes; a call that is refused costs its bytes too."""
    made = bench(POLICY)
    made.service.should_rate_limit([call(**named)])
    assert made.service.should_rate_limit([call(**named)]) == (1, cost)


async def test_calls_are_taken_while_there_is_room(bench):
    """The first one always, then until the room is used; the others are not touched."""
    made = bench(POLICY)
    made.service.should_rate_limit([call()])
    calls = [call() for _ in range(10)]
    assert made.service.should_rate_limit(calls, 7) == (3, 9)
    assert [len(each.answers) for each in calls] == [1] * 3 + [0] * 7
    assert made.service.should_rate_limit(calls[3:], 1) == (1, 3)
    assert made.counts.total_requests["ShouldRateLimit"] == 5


@pytest.mark.parametrize("method", ["check", "list"])
def test_health_takes_as_many_calls_as_there_is_room(method):
    """At a cost of one each."""
    counted = []
    health = GrpcHealth(lambda: True, lambda *told: counted.append(told[2]))
    calls = [HealthCall() for _ in range(5)]
    assert getattr(health, method)(calls, 3) == (3, 3)
    assert ([each.answered for each in calls], counted) == ([1, 1, 1, 0, 0], [3])


class HealthCall:
    """Counts its answers."""

    body = b""
    answered = 0

    def respond(self, body):
        self.answered += 1
