"""What both twins do where the upstream is silent, and what Envoy does where the service is not there."""

import json

import aiohttp
import pytest
import yaml

from ratelimitd.cli.bootstrap import BootstrapOptions, make
from testkit.envoy import envoy
from testkit.redis_server import free_port
from tests.http1.rig import ScriptedUpstream

from .twins import twins

pytestmark = [pytest.mark.envoy, pytest.mark.process]

LIMITED = {"rate_limits": [{"actions": [{"remote_address": {}}]}]}
POLICY = {
    "domain": "d",
    "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "day", "requests_per_unit": 9}}],
}


def written(folder, url, **route):
    """A gateway file, and its policy as a file."""
    file, policy = folder / "gateway.yaml", folder / "policy.yaml"
    policy.write_text(json.dumps(POLICY))
    upstreams = {"app": {"url": url}}
    file.write_text(
        json.dumps({"listen": "127.0.0.1:0", "upstreams": upstreams, "policies": POLICY, "routes": [route]})
    )
    return file, policy


async def got(url):
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.read()


async def test_a_route_bounds_the_wait_for_a_response_alike(tmp_path):
    """A silent upstream is 504 after the ``timeout`` of the route, though response_timeout is a minute."""
    silent = await ScriptedUpstream().start()
    try:
        url = f"http://127.0.0.1:{silent.port}"
        async with twins(*written(tmp_path, url, timeout="100ms"), tmp_path, ({}, {})) as urls:
            assert [(await got(f"{url}/"))[0] for url in urls] == [504, 504]
    finally:
        await silent.stop()


async def test_a_service_that_envoy_cannot_reach_shows_in_its_cluster(tmp_path):
    """Requests are 503 with an empty body, and the counter of docs/gateway.md says why."""
    file, _ = written(tmp_path, "http://127.0.0.1:1", **LIMITED)
    made = make(str(file), BootstrapOptions(rls=("127.0.0.1", free_port()), admin=0, timeout=5.0, failure_mode="deny"))
    async with envoy(yaml.safe_load(made.text), tmp_path) as running:
        assert await got(f"{running.url}/") == (503, b"")
        assert await running.stat("cluster.ratelimitd.upstream_cx_connect_fail") >= 1
