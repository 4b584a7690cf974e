"""A control plane, the service and a real Envoy: what is pushed bites, and a push under traffic fails no call."""

import pytest

from testkit.control_plane import config, control_plane, credentials
from testkit.envoy import bootstrap, envoy, header, route, upstream
from testkit.tls_files import tls_files
from tests.e2e.test_rolling import assert_unnoticed, statuses, traffic
from tests.service import service

pytestmark = [pytest.mark.envoy, pytest.mark.process, pytest.mark.slow, pytest.mark.alone]

ROUTES = [route("/", [header("x-user", "user")])]
LISTENER = "default/eg/http"


def limited(requests, **more):
    """What Envoy Gateway sends for a listener: its name is the domain."""
    return config(LISTENER, {"key": "user", "rate_limit": {"unit": "hour", "requests_per_unit": requests}, **more})


async def test_a_push_under_traffic_fails_no_call_and_then_bites(tmp_path):
    """Over mutual TLS, as Envoy Gateway has it; a bad push changes nothing, and an empty one removes the limits."""
    files = tls_files(tmp_path)
    env = {
        "CONFIG_TYPE": "GRPC_XDS_SOTW",
        "CONFIG_GRPC_XDS_NODE_ID": "envoy-ratelimit",
        "CONFIG_GRPC_XDS_SERVER_USE_TLS": "true",
        "CONFIG_GRPC_XDS_SERVER_TLS_CACERT": str(files.authority),
        "CONFIG_GRPC_XDS_CLIENT_TLS_CERT": str(files.client_certificate),
        "CONFIG_GRPC_XDS_CLIENT_TLS_KEY": str(files.client_key),
        "FORCE_START_WITHOUT_INITIAL_CONFIG": "true",
    }
    async with control_plane(credentials(files, client=True)) as plane, upstream() as up:
        plane.push("1", limited(1000), node="envoy-ratelimit")
        async with (
            service(env={**env, "CONFIG_GRPC_XDS_SERVER_URL": plane.address}) as running,
            envoy(bootstrap([running.grpc], up, ROUTES, domain=LISTENER), tmp_path) as proxy,
        ):
            await plane.acked("1")
            async with traffic(proxy.url) as seen:
                await seen.grown(50)
                plane.push("2", limited(2), node="envoy-ratelimit")
                await plane.acked("2")
                assert await statuses(proxy.url, "eve", 3) == [200, 200, 429]
                plane.push("3", config(LISTENER, {"key": ""}), node="envoy-ratelimit")
                await plane.nacked(2)
                await seen.grown(50)
                assert await statuses(proxy.url, "fay", 3) == [200, 200, 429]
                plane.push("4", limited(3), node="envoy-ratelimit")
                await plane.acked("4")
                assert await statuses(proxy.url, "fay", 2) == [429, 429]
                assert await statuses(proxy.url, "gus", 4) == [200, 200, 200, 429]
                plane.push("5", node="envoy-ratelimit")
                await plane.acked("5")
                assert await statuses(proxy.url, "gus", 2) == [200, 200]
                await seen.grown(50)
            await assert_unnoticed(proxy)
