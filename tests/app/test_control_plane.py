"""A service that has its policy from a control plane: its start, its health, and what it tells."""

import asyncio
import json
from contextlib import asynccontextmanager

import grpc
import pytest

from ratelimitd.app.control_plane import Plane
from ratelimitd.app.control_plane import control_plane as client_options
from ratelimitd.settings import load
from ratelimitd.sources.xds import Backoff, ControlPlane, PlaneState, TlsFiles, Told
from testkit.control_plane import config, control_plane
from testkit.redis_server import free_port
from tests.app.test_process import call, get, grpc_health, until
from tests.service import service

pytestmark = pytest.mark.process

TOKEN = "0123456789abcdef"
NO_POLICY = (grpc.StatusCode.UNAVAILABLE, "no rate limit configuration loaded")


def limited(requests, name="d"):
    return config(name, {"key": "user", "rate_limit": {"unit": "hour", "requests_per_unit": requests}})


BAD = config("d", {"key": "user", "rate_limit": {"unit": 0}})


@asynccontextmanager
async def serving(address, **env):
    """A service of this control plane, with short waits."""
    own = {
        "CONFIG_TYPE": "GRPC_XDS_SOTW",
        "CONFIG_GRPC_XDS_SERVER_URL": address,
        "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL": "50ms",
        "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL": "50ms",
        "ADMIN_TOKEN": TOKEN,
    }
    async with service(env={**own, **env}) as running:
        yield running


async def pages(running):
    """What /healthcheck, /readyz and gRPC health say."""
    return [(await get(running.http, path))[0] for path in ("/healthcheck", "/readyz")] + [
        await grpc_health(running.grpc)
    ]


WELL, ILL = [200, 200, "SERVING"], [500, 503, "NOT_SERVING"]


async def admin(running):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return json.loads((await get(running.debug, "/admin/policy", headers=headers))[1])


async def metric(running, name):
    lines = (await get(running.http, "/metrics"))[1].splitlines()
    return [line for line in lines if line.startswith(name)]


def test_every_setting_reaches_the_client():
    """Node, headers, TLS, waits and the largest message are those of the settings."""
    env = {
        "SERVER_URL": "a:1",
        "NODE_ID": "n",
        "NODE_METADATA": "k=v",
        "CLIENT_ADDITIONAL_HEADERS": "h:w",
        "SERVER_USE_TLS": "true",
        "SERVER_TLS_CACERT": "ca",
        "SERVER_TLS_SAN": "san",
        "CLIENT_TLS_CERT": "cert",
        "CLIENT_TLS_KEY": "key",
        "SERVER_CONNECT_RETRY_INTERVAL": "1s",
    }
    waits = {"INITIAL_INTERVAL": "2s", "MAX_INTERVAL": "3s", "RANDOM_FACTOR": "4", "JITTER": "false"}
    settings = load(
        {
            "CONFIG_TYPE": "GRPC_XDS_SOTW",
            "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES": "5",
            **{f"CONFIG_GRPC_XDS_{name}": value for name, value in env.items()},
            **{f"XDS_CLIENT_BACKOFF_{name}": value for name, value in waits.items()},
        },
        {},
    )
    assert client_options(settings) == ControlPlane(
        *("a:1", "n", (("k", "v"),), (("h", "w"),)),
        TlsFiles("ca", "cert", "key", "san"),
        Backoff(1, 2, 3, 4, jitter=False),
        most=5,
    )
    assert client_options(load({"CONFIG_TYPE": "GRPC_XDS_SOTW"}, {})) == ControlPlane("localhost:18000")


def test_what_a_control_plane_says_is_one_line():
    """Neither a version nor the status of a stream adds lines to /readyz."""
    state = PlaneState(reason="a\nredis: b", acked=Told("1\n", 0), nacked=Told("2", 0, "d: c\u202e"))
    words = Plane("c:1", state).in_words()
    assert words == (
        "c:1, version '1\\n' accepted 1970-01-01T00:00:00Z, version '2' rejected 1970-01-01T00:00:00Z: d: c\\u202e, "
        "not connected: a\\nredis: b"
    )


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
async def test_the_policy_is_what_the_control_plane_sends(transport):
    """The whole of it: a domain that is missing in the next response has no limits."""
    async with control_plane() as plane:
        plane.push("1", limited(1), limited(1, "other"))
        async with serving(plane.address, TRANSPORT=transport) as running:
            await plane.acked("1")
            assert [await call(running.grpc) for _ in range(2)] == ["OK", "OVER_LIMIT"]
            plane.push("2", limited(3, "other"))
            await plane.acked("2")
            assert (await get(running.debug, "/rlconfig"))[1] == (
                "other.user: unit=HOUR requests_per_unit=3, shadow_mode: false, quota_mode: false\n"
            )
            assert await call(running.grpc) == "OK"
            plane.push("3")
            await plane.acked("3")
            assert (await get(running.debug, "/rlconfig"))[1] == ""


async def test_an_ack_comes_after_the_policy_is_in_force():
    """A control plane that waits for it can rely on the limit, and counters outlive the update."""
    async with control_plane() as plane:
        plane.push("1", limited(1000))
        async with serving(plane.address) as running:
            await plane.acked("1")
            for number in range(2, 5):
                await call(running.grpc)
                plane.push(str(number), limited(number))
                await plane.acked(str(number))
            assert [await call(running.grpc) for _ in range(2)] == ["OK", "OVER_LIMIT"]


@pytest.mark.parametrize(("force", "health"), [("true", WELL), ("false", ILL)])
async def test_without_a_control_plane(force, health):
    """It listens, fails every call and ends on SIGTERM; FORCE_START_WITHOUT_INITIAL_CONFIG says if it is healthy."""
    async with serving(f"localhost:{free_port()}", FORCE_START_WITHOUT_INITIAL_CONFIG=force) as running:
        await until(lambda: pages(running), health)
        assert await call(running.grpc) == NO_POLICY
        running.terminate()
        assert await running.ended() == 0


@pytest.mark.scenario("a control plane sends a bad policy, again and again")
@pytest.mark.parametrize(("force", "health"), [("true", WELL), ("false", ILL)])
async def test_a_bad_first_policy(force, health):
    """It is rejected and leaves the service without one; the mended one is in force."""
    async with control_plane() as plane:
        plane.push("1", BAD)
        async with serving(plane.address, FORCE_START_WITHOUT_INITIAL_CONFIG=force) as running:
            nack = await plane.nacked()
            assert nack.error_detail.message.startswith("d: invalid rate limit unit 'UNKNOWN'")
            assert (await pages(running), await call(running.grpc)) == (health, NO_POLICY)
            plane.push("2", limited(1))
            await plane.acked("2")
            assert (await pages(running), await call(running.grpc)) == (WELL, "OK")


async def test_a_nack_has_all_errors_of_all_resources():
    """Each with its resource, in the order of the response."""
    nothing = config("e", {"key": "", "rate_limit": {"unit": 1, "requests_per_unit": 1}})
    async with control_plane() as plane:
        plane.push("1", BAD, nothing)
        async with serving(plane.address):
            text = (await plane.nacked()).error_detail.message
            named = [each.partition(":")[0] for each in text.split("; ") if each[1:2] == ":"]
            assert sorted(named) == ["d", "e"]
            assert "invalid rate limit unit 'UNKNOWN'" in text
            assert "descriptor has empty key" in text


@pytest.mark.scenario("a control plane is lost, silent or restarted")
async def test_a_control_plane_that_is_lost_changes_nothing_else():
    """Policy and health stay; the loss is in the log, a metric and /readyz, and it is connected to again."""
    port = free_port()
    async with serving(f"localhost:{port}") as running:
        async with control_plane(port=port) as plane:
            plane.push("1", limited(2))
            await plane.acked("1")
            assert await metric(running, "ratelimitd_xds_connected") == ["ratelimitd_xds_connected 1"]
        lost = await running.logged("control plane lost")
        assert (lost["level"], lost["note"]) == ("warning", "the policy in force stays")
        assert (await pages(running), await call(running.grpc)) == (WELL, "OK")
        assert await metric(running, "ratelimitd_xds_connected") == ["ratelimitd_xds_connected 0"]
        assert "not connected since" in (await get(running.http, "/readyz"))[1]
        mark = len(running.log)
        async with control_plane(port=port) as plane:
            plane.push("1", limited(2))
            await plane.acked("1")
            assert await metric(running, "ratelimitd_xds_connects_total") == ["ratelimitd_xds_connects_total 2"]
        assert "policy loaded" not in [line["@message"] for line in running.log[mark:]]


async def test_what_is_told_of_a_control_plane():
    """/readyz, /admin/policy and metrics say which it is, what was accepted last, and what was rejected and why."""
    async with control_plane() as plane:
        async with serving(plane.address) as running:
            assert "nothing accepted yet, connected since" in (await get(running.http, "/readyz"))[1]
            plane.push("7", limited(1))
            await plane.acked("7")
            plane.push("8", BAD)
            await plane.nacked(2)
            page = await admin(running)
            told = page["control_plane"]
            assert (page["source"], page["version"]) == (f"control plane {plane.address}", "7")
            assert (told["connected"], told["ack"]["version"], told["nack"]["version"]) == (True, "7", "8")
            assert told["nack"]["text"].startswith("d: invalid rate limit unit 'UNKNOWN'")
            status, ready = await get(running.http, "/readyz")
            assert (status, "version '7' accepted" in ready, "version '8' rejected" in ready) == (200, True, True)
            assert "d: invalid rate limit unit 'UNKNOWN'" in ready
            (nacked,) = await metric(running, "ratelimitd_xds_nacked")
            assert nacked.startswith('ratelimitd_xds_nacked{version="8",error="d: invalid rate limit unit \'UNKNOWN\'')
            assert await metric(running, "ratelimitd_policy_info") == [
                f'ratelimitd_policy_info{{version="7",source="control plane {plane.address}"}} 1'
            ]
            for name in ("ratelimitd_xds_nacks_total", "ratelimit_service_config_load_error"):
                assert await metric(running, name) == [f"{name} 1"]
            plane.push("9", limited(1))
            await plane.acked("9")
            assert await metric(running, "ratelimitd_xds_nacked") == []
            page = await admin(running)
            assert (page["version"], page["refused"], page["control_plane"]["nack"]) == ("9", [], None)
        assert running.text.count("invalid rate limit unit 'UNKNOWN'") == 1


async def test_a_policy_with_a_domain_is_required_if_asked():
    """HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED fails before the first one, and again after an empty one."""
    env = {"HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED": "true", "FORCE_START_WITHOUT_INITIAL_CONFIG": "true"}
    async with control_plane() as plane, serving(plane.address, **env) as running:
        assert await pages(running) == [500, 200, "NOT_SERVING"]
        plane.push("1", limited(1))
        await plane.acked("1")
        assert await pages(running) == WELL
        plane.push("2")
        await plane.acked("2")
        assert await pages(running) == [500, 200, "NOT_SERVING"]


async def test_the_secrets_of_headers_are_not_told():
    """They are sent, and neither logged nor shown."""
    headers = {"CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS": "authorization:Bearer canary"}
    async with control_plane() as plane, serving(plane.address, **headers) as running:
        await plane.until(lambda plane: plane.requests)
        assert plane.streams[0].metadata["authorization"] == "Bearer canary"
        assert "canary" not in running.text + json.dumps(await admin(running)) + (await get(running.http, "/readyz"))[1]


async def test_sighup_asks_again():
    """It connects anew, and what is in force is not loaded again."""
    async with control_plane() as plane:
        plane.push("1", limited(1))
        async with serving(plane.address) as running:
            await plane.acked("1")
            running.process.send_signal(1)
            await plane.until(lambda plane: len(plane.streams) == 2 and len(plane.streams[1].requests) == 2)
            assert [line["@message"] for line in running.log].count("policy loaded") == 1


@pytest.mark.alone
async def test_a_large_policy_is_taken_over_while_calls_are_answered():
    """50,000 descriptors come in one response, and are parsed in another process."""
    tree = [
        {"key": f"rule-{number}", "value": "x", "rate_limit": {"unit": "minute", "requests_per_unit": number}}
        for number in range(5_000)
    ]
    large = [config(f"listener-{number}", *tree) for number in range(10)]
    async with control_plane() as plane:
        plane.push("1", limited(1_000_000))
        async with serving(plane.address) as running:
            await plane.acked("1")
            plane.push("2", limited(1_000_000), *large)
            loading = asyncio.ensure_future(plane.acked("2"))
            answers = []
            while not loading.done():
                answers.append(await call(running.grpc))
            await loading
            assert set(answers) == {"OK"}
            assert len(answers) > 1
            assert (await admin(running))["limits"] == 50_001
