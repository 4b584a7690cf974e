"""What doctor says of a control plane, and of the policy that it sends."""

import pytest

from ratelimitd.doctor import Level, control_plane, policy, settings
from ratelimitd.doctor.target import CheckTarget
from ratelimitd.settings import load
from testkit.control_plane import config
from testkit.control_plane import control_plane as running
from testkit.redis_server import free_port

XDS = {"CONFIG_TYPE": "GRPC_XDS_SOTW"}
LIMIT = {"key": "user", "rate_limit": {"unit": "minute", "requests_per_unit": 1}}


async def found(address, *paths, check=control_plane.check, **env):
    """The findings for a control plane at this address."""
    known = load({**XDS, "CONFIG_GRPC_XDS_SERVER_URL": address, **env}, {})
    return [each async for each in check(CheckTarget(known, paths, None, with_service=False))]


@pytest.mark.process
async def test_a_policy_that_comes_is_checked_and_not_answered():
    """With its version, its numbers and the node that asked; the control plane hears no ACK."""
    async with running() as plane:
        plane.push("7", config("d", LIMIT), node="edge")
        connected, checked = await found(plane.address, CONFIG_GRPC_XDS_NODE_ID="edge")
        assert connected.found == f"{plane.address} sends version '7' to node 'edge'"
        assert checked.found == "version: '7', domains: 1, limits: 1"
        assert {connected.level, checked.level} == {Level.OK}
        assert [request.response_nonce for request in plane.requests] == [""]


@pytest.mark.process
async def test_errors_of_a_policy_are_found():
    """Each with its resource."""
    async with running() as plane:
        plane.push("1", config("r", domain=""))
        _, wrong = await found(plane.address)
        assert (wrong.level, wrong.found.partition(":")[0]) == (Level.BAD, "r")
        assert "the control plane sends" in wrong.change


async def test_a_silent_control_plane_is_a_warning(monkeypatch):
    """It may not know the node id."""
    monkeypatch.setattr(control_plane, "PATIENCE", 0.2)
    async with running() as plane:
        plane.push("1", config("d", LIMIT), node="envoy-ratelimit")
        (warning,) = await found(plane.address)
        assert warning.level is Level.WARN
        assert "CONFIG_GRPC_XDS_NODE_ID ('default')" in warning.change


async def test_no_control_plane_is_bad():
    """The reason is told, and what to check."""
    (wrong,) = await found(f"localhost:{free_port()}")
    assert (wrong.level, "Connection refused" in wrong.found) == (Level.BAD, True)
    assert "CONFIG_GRPC_XDS_SERVER_URL" in wrong.change


async def test_files_need_no_control_plane():
    """Nothing is asked, and nothing found."""
    assert await found("localhost:1", CONFIG_TYPE="FILE") == []


async def test_the_policy_of_a_control_plane_is_checked_once():
    """The check of files has nothing to say of it."""
    assert await found("localhost:1", check=policy.check) == []


async def test_a_path_beside_a_control_plane_is_bad():
    """The start would refuse it."""
    levels = [each.level for each in await found("localhost:1", "policy.yaml", check=settings.check)]
    assert Level.BAD in levels
