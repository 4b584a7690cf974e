"""The client against a control plane of grpcio: what goes over the wire, and when it connects again."""

import asyncio

import grpc
import pytest
from structlog.testing import capture_logs

from ratelimitd.sources.xds import Backoff, Refusal
from ratelimitd.sources.xds.protocol import PACE
from testkit.control_plane import TYPE, config, control_plane, response
from testkit.redis_server import free_port
from tests.sources.xds.following import following, until

BAD = Refusal("r: bad")


def versions(*bad):
    """A verdict that refuses these versions."""
    return lambda got: BAD if got.version in bad else None


async def test_the_first_request_asks_for_everything():
    """With node and type, and without names of resources: any name, even *, would be a filter."""
    options = {"node_id": "envoy-ratelimit", "node_metadata": (("a", "b"),), "headers": (("x-team", "edge"),)}
    async with control_plane() as plane, following(plane.address, **options):
        first = await plane.until(lambda plane: plane.requests and plane.requests[0])
        assert (first.version_info, first.response_nonce, list(first.resource_names)) == ("", "", [])
        assert (first.type_url, first.node.id, dict(first.node.metadata)) == (TYPE, "envoy-ratelimit", {"a": "b"})
        assert plane.streams[0].metadata["x-team"] == "edge"


async def test_ack_and_nack():
    """An ACK has version and nonce of its response; a NACK the version in force, and the error."""
    async with control_plane() as plane, following(plane.address, versions("2")) as followed:
        plane.push("1", config("r"))
        assert (await plane.acked("1")).response_nonce == "1"
        plane.push("2", config("r"), config("s"))
        nack = await plane.nacked()
        assert (nack.version_info, nack.response_nonce) == ("1", "2")
        assert (nack.error_detail.code, nack.error_detail.message) == (3, "r: bad")
        plane.push("3", config("r"), config("t"))
        await plane.acked("3")
        assert (followed.loaded, followed.accepted) == (["1", "2", "3"], ["1", "3"])
        assert (followed.state.acks, followed.state.nacks, followed.state.nacked) == (2, 1, None)


async def test_a_policy_without_a_version_is_one():
    """Envoy Gateway sends none, and no resources, when its last listener is gone."""
    async with control_plane() as plane, following(plane.address) as followed:
        plane.push("1", config("r"))
        await plane.acked("1")
        plane.push("")
        assert (await plane.acked("")).response_nonce == "2"
        assert followed.loaded == ["1", ""]


@pytest.mark.scenario("a control plane sends a bad policy, again and again")
async def test_a_bad_policy_makes_no_loop():
    """The control plane sends it again at once; it is loaded once, and answered no more than once a second."""
    async with control_plane() as plane, following(plane.address, versions("1")) as followed:
        plane.push("1", config("r"))
        await plane.nacked()
        began = asyncio.get_running_loop().time()
        await plane.nacked(3)
        assert asyncio.get_running_loop().time() - began >= 2 * PACE - 0.1
        assert (followed.loaded, followed.state.nacks) == (["1"], 1)


@pytest.mark.scenario("a control plane is lost, silent or restarted")
async def test_a_control_plane_with_nothing_is_left_alone():
    """It may stay silent after the first request, for ever: that is no loss."""
    async with control_plane() as plane, following(plane.address) as followed:
        await plane.until(lambda plane: plane.requests)
        assert (followed.state.connected, len(plane.streams)) == (True, 1)
        plane.push("1")
        await plane.acked("1")
        assert (len(plane.streams), followed.state.connects) == (1, 1)


ENDS = (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED)


@pytest.mark.parametrize("code", ENDS)
async def test_every_end_of_a_stream_is_a_loss(code):
    """A clean one too; the next stream starts without version and nonce, and gets the policy again."""
    async with control_plane() as plane, following(plane.address) as followed:
        plane.push("1", config("r"))
        await plane.acked("1")
        plane.end(code)
        await plane.until(lambda plane: len(plane.streams) == 2 and len(plane.streams[1].requests) == 2)
        first, ack = plane.streams[1].requests
        assert (first.version_info, first.response_nonce) == ("", "")
        assert (ack.version_info, ack.response_nonce) == ("1", "1")
        assert followed.loaded == ["1"]


@pytest.mark.scenario("a control plane is lost, silent or restarted")
async def test_a_restarted_control_plane_is_believed():
    """It counts from 1 again, so its 1 is another policy, and an empty one is sent too."""
    port = free_port()
    async with following(f"localhost:{port}") as followed:
        async with control_plane(port=port) as plane:
            plane.push("1", config("r"))
            await plane.acked("1")
        await until(lambda: not followed.state.connected)
        async with control_plane(port=port) as plane:
            plane.push("1", config("other"))
            await plane.acked("1")
        assert followed.loaded == ["1", "1"]


async def test_a_version_that_names_the_same_policy_is_acknowledged_without_a_load():
    """The order of its resources is not part of it."""
    async with control_plane() as plane, following(plane.address) as followed:
        resources = [config(f"r{number}") for number in range(20)]
        plane.push("1", *resources)
        await plane.acked("1")
        plane.push("2", *resources)
        await plane.acked("2")
        assert (followed.loaded, followed.accepted) == (["1"], ["1", "2"])


async def test_updates_that_come_during_a_load_fold_into_the_newest():
    """One that was overtaken is never loaded, and the newest nonce is answered."""
    go = asyncio.Event()

    async def slowly():
        await go.wait()

    async with control_plane() as plane, following(plane.address, lambda _: slowly()) as followed:
        plane.manual = True
        await plane.until(lambda plane: plane.requests)
        for number in "123":
            plane.send(response(number, [config(number)], number))
            await until(lambda number=number: followed.newest == number)
        go.set()
        assert (await plane.acked("3")).response_nonce == "3"
        assert followed.loaded == ["1", "3"]
        assert [request.version_info for request in plane.requests] == ["", "3"]


async def test_a_load_that_fails_by_our_own_fault_is_a_nack(caplog):
    """The policy in force stays, and the client goes on."""

    def fail(got):
        if got.version == "1":
            raise ValueError("ours")

    async with control_plane() as plane, following(plane.address, fail):
        plane.push("1", config("r"))
        assert "its log has the reason" in (await plane.nacked()).error_detail.message
        plane.push("2", config("s"))
        await plane.acked("2")


async def test_bytes_that_are_no_response_end_the_stream():
    """There is no nonce to answer."""
    async with control_plane() as plane, following(plane.address) as followed:
        plane.manual = True
        await plane.until(lambda plane: plane.requests)
        plane.send(b"\xff\xff")
        await plane.until(lambda plane: len(plane.streams) > 1)
        assert followed.loaded == []


async def test_a_response_that_is_too_large_names_the_variable():
    """It ends the stream, again at each connection."""
    async with control_plane() as plane, following(plane.address, most=10_000) as followed:
        with capture_logs() as lines:
            plane.push("1", *(config(f"{number:0>1000}") for number in range(20)))
            await until(lambda: "RESOURCE_EXHAUSTED" in followed.state.reason)
            plane.snapshots["default"].resources.clear()
            await plane.acked("1")
        (lost,) = [line for line in lines if line["log_level"] == "warning"]
        assert "RESOURCE_EXHAUSTED" in lost["reason"]
        assert "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES" in lost["reason"]


async def test_one_line_an_edge():
    """However often it tries, an outage is one line, and its end another."""
    port = free_port()
    with capture_logs() as lines:
        async with following(f"localhost:{port}") as followed:
            await until(lambda: followed.state.reason.endswith("refused"))
            await asyncio.sleep(0.2)  # some more attempts, none of which may be told
            async with control_plane(port=port) as plane:
                await plane.until(lambda plane: plane.requests)
            await until(lambda: not followed.state.connected)
            await asyncio.sleep(0.2)
    assert [line["event"] for line in lines] == [
        "control plane cannot be reached",
        "control plane connected",
        "control plane lost",
    ]
    assert "Connection refused" in lines[0]["reason"]


async def test_sighup_connects_anew():
    """Whatever it waits for: a stream that is silent, or the time until the next attempt."""
    long = Backoff(retry=3600, first=3600)
    port = free_port()
    async with following(f"localhost:{port}", backoff=long) as followed:
        await until(lambda: followed.state.reason.endswith("refused"))
        async with control_plane(port=port) as plane:
            followed.client.wake()
            await plane.until(lambda plane: plane.requests)
            followed.client.wake()
            await plane.until(lambda plane: len(plane.streams) == 2)
