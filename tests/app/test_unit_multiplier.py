"""Windows of several units, as a real caller of the service sends and receives them."""

import aiohttp
import grpc
import pytest
from google.protobuf import json_format

from ratelimitd import client
from ratelimitd.proto import message
from tests.service import service

pytestmark = pytest.mark.process

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

POLICY = """
domain: d
descriptors:
  - {key: long, rate_limit: {unit: week, unit_multiplier: 2, requests_per_unit: 4}}
"""
BODY = {
    "domain": "d",
    "descriptors": [
        {"entries": [{"key": "long", "value": "x"}]},
        {
            "entries": [{"key": "own", "value": "x"}],
            "limit": {"requestsPerUnit": 4, "unit": "MINUTE", "unitMultiplier": 10},
        },
    ],
}
TOLD = {
    "true": [
        {"requestsPerUnit": 4, "unit": "WEEK", "unitMultiplier": 2},
        {"requestsPerUnit": 4, "unit": "MINUTE", "unitMultiplier": 10},
    ],
    "false": [{"requestsPerUnit": 4}] * 2,
}


async def over_grpc(running):
    """The response to BODY as JSON, over gRPC."""
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        call = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        return json_format.MessageToDict(await call(json_format.ParseDict(BODY, Request()), wait_for_ready=True))


async def over_http(running):
    """The response to BODY of /json."""
    async with aiohttp.ClientSession() as session, session.post(f"http://{running.http}/json", json=BODY) as answer:
        return await answer.json()


@pytest.mark.parametrize("transport", ["auto", "grpcio"])
@pytest.mark.parametrize("setting", TOLD)
async def test_windows_of_several_units_are_read_always_and_told_by_the_setting(tmp_path, setting, transport):
    """STATUS_UNIT_MULTIPLIER, over either transport and at /json: of the policy's limits and of those of requests.

    Told or not, an override is enforced for its whole window: of 4 in ten minutes, one is refilled in 150 seconds.
    """
    (tmp_path / "policy.yaml").write_text(POLICY)
    env = {"STATUS_UNIT_MULTIPLIER": setting, "TRANSPORT": transport, "DEFAULT_ALGORITHM": "token_bucket"}
    async with service("--config", str(tmp_path / "policy.yaml"), env=env) as running:
        answers = [await over_grpc(running), await over_http(running)]
    for answer in answers:
        assert [status["currentLimit"] for status in answer["statuses"]] == TOLD[setting]
    resets = [float(answer["statuses"][1]["durationUntilReset"].rstrip("s")) for answer in answers]
    assert resets[0] == 150
    assert 150 < resets[1] <= 300


@pytest.mark.parametrize(
    ("unit", "multiplier", "told"),
    [
        (2, None, " per minute"),
        (2, 1, " per minute"),
        (2, 10, " per 10 minutes"),
        (7, 2, " per 2 weeks"),
        (0, None, ""),
    ],
)
def test_check_tells_the_window_that_it_is_told(unit, multiplier, told):
    """In words; without STATUS_UNIT_MULTIPLIER a service tells none of several units."""
    response = Response()
    status = response.statuses.add(code=Response.OK, limit_remaining=3)
    status.current_limit.requests_per_unit, status.current_limit.unit = 20, unit
    status.duration_until_reset.seconds = 58
    if multiplier is not None:
        status.current_limit.unit_multiplier.value = multiplier
    ((_, sentence),) = client.lines(response, [((b"k", b"v"),)])
    assert sentence == f"k=v: 3 left of 20{told}, reset in 58 s"
