"""Health and reflection as real clients see them, over grpcio."""

from contextlib import asynccontextmanager

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from ratelimitd.observe.health import Health
from ratelimitd.observe.metrics import Counters
from ratelimitd.rls import GrpcHealth, handlers
from ratelimitd.transport.grpcio import GrpcioOptions, GrpcioServer

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def served(bench, health, grpc_health=None):
    """A server with the whole set of methods over this health; yields its address."""
    grpc_health = grpc_health or GrpcHealth(lambda: health.healthy, Counters().called)
    health.subscribe(lambda _: grpc_health.changed())
    server = GrpcioServer("127.0.0.1", 0, handlers(bench().service, grpc_health), GrpcioOptions(1 << 20, 100))
    await server.start()
    try:
        yield server.address
    finally:
        await server.stop(0)


@pytest.mark.scenario("probes that report a wrong state")
@pytest.mark.parametrize("service", ["", "ratelimit"])
async def test_check_says_what_health_says(bench, service):
    """ "" and "ratelimit" are SERVING while every component works."""
    health = Health()
    async with served(bench, health) as address, aio.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        request = health_pb2.HealthCheckRequest(service=service)
        assert (await check(request)).status == SERVING
        health.set("sigterm", False)
        assert (await check(request)).status == NOT_SERVING


@pytest.mark.scenario("probes that report a wrong state")
async def test_list_says_the_state_of_every_service(bench):
    """Health/List, which newer clients call, names both services with what health says."""
    health = Health()
    async with served(bench, health) as address, aio.insecure_channel(address) as channel:
        listed = health_pb2_grpc.HealthStub(channel).List
        for state in (SERVING, NOT_SERVING):
            statuses = (await listed(health_pb2.HealthListRequest())).statuses
            assert {name: each.status for name, each in statuses.items()} == {"": state, "ratelimit": state}
            health.set("sigterm", False)


async def test_an_unknown_service_is_not_found(bench):
    """Check of another service is NOT_FOUND, Watch tells SERVICE_UNKNOWN and stays, as the protocol asks."""
    async with served(bench, Health()) as address, aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="other"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


@pytest.mark.scenario("probes that report a wrong state")
async def test_watch_tells_each_change(bench):
    """A watcher hears the state now and each turn of it."""
    health = Health()
    async with served(bench, health) as address, aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="ratelimit"))
        assert (await watch.read()).status == SERVING
        health.set("redis", False)
        assert (await watch.read()).status == NOT_SERVING
        health.set("redis", True)
        assert (await watch.read()).status == SERVING
        watch.cancel()


async def test_a_watch_ends_with_the_server(bench):
    """A watcher hears NOT_SERVING and then the end, so that a draining server need not wait for it."""
    health = Health()
    grpc_health = GrpcHealth(lambda: health.healthy, Counters().called)
    async with served(bench, health, grpc_health) as address, aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        health.set("sigterm", False)
        assert (await watch.read()).status == NOT_SERVING
        grpc_health.end_watches()
        assert await watch.read() == aio.EOF
        assert await watch.code() == grpc.StatusCode.OK


async def test_reflection_tells_our_services_and_their_messages(bench):
    """A reflection client finds each service, and the request of ours with its fields."""

    def look(address):
        with grpc.insecure_channel(address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            services = set(database.get_services())
            file = database.FindFileContainingSymbol("envoy.service.ratelimit.v3.RateLimitService")
            return services, [message.name for message in file.message_type]

    import asyncio

    async with served(bench, Health()) as address:
        services, messages = await asyncio.to_thread(look, address)
    assert {"envoy.service.ratelimit.v3.RateLimitService", "grpc.health.v1.Health"} <= services
    assert "RateLimitRequest" in messages
