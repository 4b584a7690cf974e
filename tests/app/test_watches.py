"""Watches of gRPC health as real clients hold them: room for others, and a client that loses one watches again."""

import asyncio
import json
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ratelimitd.transport.stream_places import HELD
from tests.service import service

pytestmark = [pytest.mark.process, pytest.mark.scenario("clients that flood, reset streams, or do not read")]

SERVING = health_pb2.HealthCheckResponse.SERVING
RATELIMIT = health_pb2.HealthCheckRequest(service="ratelimit")
OWN = ("grpc.use_local_subchannel_pool", 1)
CHECKED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "ratelimit"},
}


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("domain: d\ndescriptors: []\n")
    return str(path)


async def watched(channel):
    """A Watch and its first answer, None if it was refused."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(RATELIMIT)
    try:
        return watch, (await watch.read()).status
    except aio.AioRpcError as error:
        return watch, error.code()


async def test_ten_callers_with_a_hundred_watches_leave_room(policy):
    """A new client watches, reads the reflection and asks; each of the ten has ten watches left."""
    async with service("--config", policy) as running, AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(aio.insecure_channel(running.grpc, options=[OWN])) for _ in range(11)
        ]
        new = channels.pop()
        # One of each in turn: a new connection does not have the frames for a hundred at once.
        watches = [await watched(channel) for _ in range(100) for channel in channels]
        assert [answer for _, answer in watches] == [SERVING] * 1_000
        assert (await watched(new))[1] == SERVING
        reflect = reflection_pb2_grpc.ServerReflectionStub(new).ServerReflectionInfo
        asked = reflect(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        assert [each.WhichOneof("message_response") async for each in asked] == ["list_services_response"]
        assert (await health_pb2_grpc.HealthStub(new).Check(RATELIMIT)).status == SERVING
        lost, kept = watches[: -10 * HELD], watches[-10 * HELD :]
        async with asyncio.timeout(20):
            codes = [await watch.code() for watch, _ in lost]
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 900
        assert not any(watch.done() for watch, _ in kept)


async def test_a_client_whose_watch_gave_way_watches_again(policy):
    """gRPC's own health checking: the channel is not ready for a moment, then it is, and its calls are answered."""
    options = [OWN, ("grpc.service_config", json.dumps(CHECKED))]
    async with service("--config", policy) as running, aio.insecure_channel(running.grpc, options=options) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert (await check(RATELIMIT, wait_for_ready=True, timeout=20)).status == SERVING
        watches = [await watched(channel) for _ in range(HELD)]
        async with asyncio.timeout(20):
            # The channel's own Watch was the oldest; when it watches again, the first of ours gives way.
            assert await watches[0][0].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await check(RATELIMIT, wait_for_ready=True, timeout=20)).status == SERVING
