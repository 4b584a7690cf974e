"""ENABLE_NEGATIVE_HITS at every port through which a caller can give hits back."""

import json

import aiohttp
import pytest
from grpc import aio

from ratelimitd.client import METHOD
from ratelimitd.proto import message
from tests.gateway_process import gateway, upstream
from tests.service import service

pytestmark = pytest.mark.process

OFF = {"ENABLE_NEGATIVE_HITS": "false"}
TOKEN = "a-token-of-the-tests-0123456789"
POLICY = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: year, requests_per_unit: 10}}]\n"
Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")


def request_of(hits):
    request = Request(domain="d")
    descriptor = request.descriptors.add(is_negative_hits=hits < 0)
    descriptor.entries.add(key="k", value="v")
    descriptor.hits_addend.value = abs(hits)
    return request


async def metric(address, path="/metrics"):
    async with aiohttp.request("GET", f"http://{address}{path}") as scraped:
        text = await scraped.text()
    (line,) = (line for line in text.splitlines() if line.startswith("ratelimitd_negative_hits_refused_total "))
    return float(line.split()[1])


async def by_json(running, hits):
    body = json.dumps(
        {
            "domain": "d",
            "descriptors": [
                {
                    "entries": [{"key": "k", "value": "v"}],
                    "hitsAddend": str(abs(hits)),
                    "isNegativeHits": hits < 0,
                }
            ],
        }
    )
    async with aiohttp.request("POST", f"http://{running.http}/json", data=body) as answer:
        return (await answer.json())["statuses"][0]["limitRemaining"]


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
async def test_a_caller_of_the_service_gives_nothing_back(tmp_path, transport):
    """Over gRPC, /json and in what the admin API says; counted each time, and warned of once."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    env = {**OFF, "TRANSPORT": transport, "ADMIN_TOKEN": TOKEN}
    async with service("--config", str(tmp_path), env=env) as running, aio.insecure_channel(running.grpc) as channel:
        ask = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        assert [(await ask(request_of(hits))).statuses[0].limit_remaining for hits in (6, -5, 1)] == [4, 4, 3]
        assert [await by_json(running, hits) for hits in (-2, 1)] == [3, 2]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = json.dumps({"domain": "d", "descriptors": [{"entries": [{"key": "k"}], "isNegativeHits": True}]})
        url = f"http://{running.debug}/admin/key"
        async with aiohttp.request("POST", url, data=body, headers=headers) as answer:
            (limit,) = (await answer.json())["descriptors"][0]["limits"]
        assert limit["cost"] == 0
        assert await metric(running.http) == 2
        told = [line for line in running.log if "is_negative_hits" in str(line.get("@message"))]
        assert [(line["level"], line["domain"]) for line in told] == [("warning", "d")]


async def test_by_default_hits_are_given_back(tmp_path):
    """As the newest envoyproxy/ratelimit does, without a warning."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with service("--config", str(tmp_path)) as running, aio.insecure_channel(running.grpc) as channel:
        ask = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        assert [(await ask(request_of(hits))).statuses[0].limit_remaining for hits in (6, -5, 1)] == [4, 9, 8]
        assert await metric(running.http) == 0
        assert "is_negative_hits" not in running.text


async def test_a_route_of_the_proxy_gives_nothing_back(tmp_path):
    """``hits_addend`` of a route with ``is_negative_hits`` is a peek too."""
    async with upstream() as (url, _):
        give = {"number": 5, "is_negative_hits": True}
        action = [{"generic_key": {"descriptor_value": "x"}}]
        file = {
            "listen": "127.0.0.1:1",
            "upstreams": {"app": {"url": url}},
            "admin": {"prefix": "/-"},
            "routes": [
                {"match": {"path": "/back"}, "rate_limits": [{"actions": action, "hits_addend": give}]},
                {"match": {"prefix": "/"}, "rate_limits": [{"actions": action, "hits_addend": {"number": 6}}]},
            ],
            "policies": {
                "domain": "d",
                "descriptors": [{"key": "generic_key", "rate_limit": {"unit": "year", "requests_per_unit": 10}}],
            },
        }
        path = tmp_path / "gateway.yaml"
        path.write_text(json.dumps(file))
        async with gateway(str(path), env=OFF) as running, aiohttp.ClientSession(f"http://{running.proxy}") as client:
            left = []
            for target in ("/take", "/back"):
                async with client.get(target) as answer:
                    left.append(answer.headers["X-RateLimit-Remaining"])
            assert left == ["4", "4"]
            assert await metric(running.proxy, "/-/metrics") == 1
