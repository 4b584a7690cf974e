"""Through a real Envoy to a real upstream, with a real service beside it."""

import asyncio
import socket

import aiohttp
import grpc
import pytest

from testkit.envoy import bootstrap, envoy, generic, header, per_route, route, upstream
from tests.service import service

pytestmark = [pytest.mark.envoy, pytest.mark.process]

POLICY = """
domain: demo
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 3}}
  - {key: user, value: gold, rate_limit: {unit: hour, requests_per_unit: 1000}}
  - {key: path, value: bucket, rate_limits: [{unit: hour, requests_per_unit: 2, algorithm: token_bucket}]}
  - {key: path, value: done, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: all, value: requests, rate_limit: {unit: hour, requests_per_unit: 20}}
"""
USER = header("x-user", "user")
OVERRIDE, LONG = ({"metadata_key": {"key": "ours", "path": [{"key": name}]}} for name in ("limit", "long"))
ROUTES = [
    route("/both", [USER], [generic("all", "requests")]),
    route("/bucket", [generic("path", "bucket")]),
    route("/override", [generic("path", "override")], limit={"dynamic_metadata": OVERRIDE}),
    route("/long", [generic("path", "long")], limit={"dynamic_metadata": LONG}),
    per_route("/done", actions=[generic("path", "done")], hits_addend={"number": 4}, apply_on_stream_done=True),
    route("/", [USER]),
]  # fmt: skip


@pytest.fixture
async def front(tmp_path, store_env):
    """Envoy in front of a service with POLICY, and the service."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with (
        upstream() as up,
        service("--config", str(tmp_path / "policy.yaml"), env=store_env) as running,
        envoy(bootstrap([running.grpc], up, ROUTES), tmp_path) as proxy,
        aiohttp.ClientSession(proxy.url) as client,
    ):
        yield client, running, proxy


async def ask(client, path="/", **headers):
    async with client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()}) as answer:
        return answer.status, answer.headers


async def test_limited_after_n(front):
    """N requests pass and the next is 429, each user for himself; X-RateLimit-* tell how he stands."""
    client, _, _ = front
    answers = [await ask(client, x_user="ann") for _ in range(4)]
    assert [status for status, _ in answers] == [200, 200, 200, 429]
    assert [headers["x-ratelimit-limit"] for _, headers in answers] == ["3, 3;w=3600"] * 4
    assert [headers["x-ratelimit-remaining"] for _, headers in answers] == ["2", "1", "0", "0"]
    assert all(1 <= int(headers["x-ratelimit-reset"]) <= 3600 for _, headers in answers)
    assert (await ask(client, x_user="bob"))[0] == 200
    assert (await ask(client, x_user="gold"))[0] == 200


async def test_a_request_without_a_descriptor_passes(front):
    """When its only action finds no header Envoy asks nothing, or with no entries; either way the request passes."""
    client, _, proxy = front
    assert (await ask(client))[0] == 200
    assert await proxy.stat("ratelimit.error") == 0


async def test_several_descriptors(front):
    """Of two descriptors either may limit; the one with the least left is shown."""
    client, _, _ = front
    answers = [await ask(client, "/both", x_user="ann") for _ in range(4)]
    assert [status for status, _ in answers] == [200, 200, 200, 429]
    assert answers[0][1]["x-ratelimit-limit"].startswith("3, ")
    others = [(await ask(client, "/both", x_user="gold"))[0] for _ in range(20)]
    assert others == [200] * 16 + [429] * 4


async def test_a_token_bucket_through_envoy(front):
    """A limit upstream could not express bites too, and its window is shown."""
    client, _, _ = front
    answers = [await ask(client, "/bucket") for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 429]
    assert answers[0][1]["x-ratelimit-limit"] == "2, 2;w=3600"


async def test_an_override_from_metadata(front):
    """A limit that Envoy reads from a request's metadata applies, though the policy has none for the descriptor."""
    client, _, _ = front
    answers = [await ask(client, "/override") for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 429]
    assert answers[0][1]["x-ratelimit-limit"] == "2, 2;w=3600"


async def test_envoy_reads_no_multiplier_from_metadata(front):
    """Up to 1.40, as docs/policies.md says; what such an override would show with a multiplier has no window."""
    client, _, _ = front
    assert (await ask(client, "/long"))[1]["x-ratelimit-limit"] == "2, 2;w=60"


async def test_hits_at_the_end_of_the_stream(front):
    """Hits charged when the response has ended count for the requests after it."""
    client, running, _ = front
    assert (await ask(client, "/done"))[0] == 200

    async def hits():
        async with aiohttp.ClientSession() as session, session.get(f"http://{running.http}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        name = 'ratelimit_service_rate_limit_total_hits{domain="demo",key1="path_done"}'
        return next((int(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0)

    async with asyncio.timeout(10):
        while await hits() < 4:
            await asyncio.sleep(0.02)
    assert await hits() == 4


async def test_header_bytes_that_are_not_utf8_are_decided(front):
    """A user of Latin-1 bytes has a counter of his own like any other, and no call fails."""
    client, _, proxy = front
    host, _, port = proxy.url.removeprefix("http://").rpartition(":")

    def raw():
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-user: \xe9\xff\r\nconnection: close\r\n\r\n")
            return sock.makefile("rb").readline()

    statuses = [(await asyncio.to_thread(raw)).split()[1] for _ in range(4)]
    assert statuses == [b"200", b"200", b"200", b"429"]
    assert await proxy.stat("ratelimit.error") == 0
    assert (await ask(client, x_user="ann"))[0] == 200


LOGGED = "%RESPONSE_CODE% %DYNAMIC_METADATA(envoy.filters.http.ratelimit:reason:kind)%\n"


async def test_the_reason_of_a_denial_reaches_the_client_and_envoys_access_log(tmp_path):
    """LIMIT_REASON_HEADER names a header of the 429, and of no other response; the metadata is for the access log."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    env = {"LIMIT_REASON_HEADER": "x-ratelimit-reason", "RESPONSE_DYNAMIC_METADATA_REASON": "true"}
    async with upstream() as up, service("--config", str(tmp_path / "policy.yaml"), env=env) as running:
        config = bootstrap([running.grpc], up, ROUTES)
        log_to(config, tmp_path / "access.log")
        async with envoy(config, tmp_path) as proxy:
            async with aiohttp.ClientSession(proxy.url) as client:
                answers = [await ask(client, "/bucket") for _ in range(3)]
            async with asyncio.timeout(20):
                while len(lines := (tmp_path / "access.log").read_text().splitlines()) < 3:
                    await asyncio.sleep(0.02)
    assert lines == ["200 -", "200 -", "429 over_limit"]
    assert [(status, headers.get("x-ratelimit-reason")) for status, headers in answers] == [
        (200, None),
        (200, None),
        (429, 'over_limit;limit="demo.path_bucket.limit_0"'),
    ]


def log_to(config, file):
    """Have an Envoy write its access log to this file."""
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    form = {"text_format_source": {"inline_string": LOGGED}}
    manager["access_log"] = [{"name": "file", "typed_config": {"@type": kind, "path": str(file), "log_format": form}}]


@pytest.mark.scenario("one of several processes dies")
@pytest.mark.parametrize(("deny", "status"), [(False, 200), (True, 500)])
async def test_failure_mode_decides_when_the_service_is_killed(tmp_path, deny, status):
    """After kill -9 Envoy's failure_mode_deny decides, for us as for any service."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with upstream() as up, service("--config", str(tmp_path / "policy.yaml")) as running:
        config = bootstrap([running.grpc], up, ROUTES, failure_mode_deny=deny, timeout="0.5s")
        async with envoy(config, tmp_path) as proxy, aiohttp.ClientSession(proxy.url) as client:
            assert (await ask(client, x_user="ann"))[0] == 200
            running.process.kill()
            await running.ended()
            assert status == (await ask(client, x_user="ann"))[0]


@pytest.mark.parametrize(("deny", "status"), [(False, 200), (True, 500)])
async def test_a_bad_first_policy_leaves_the_decision_to_envoy(tmp_path, deny, status):
    """Without a policy calls are UNAVAILABLE, so that failure_mode_deny decides; nothing passes as if decided."""
    (tmp_path / "policy.yaml").write_text("domain: demo\ndescriptors: [{key: }]\n")
    async with upstream() as up, service("--config", str(tmp_path / "policy.yaml")) as running:
        config = bootstrap([running.grpc], up, ROUTES, failure_mode_deny=deny)
        async with envoy(config, tmp_path) as proxy, aiohttp.ClientSession(proxy.url) as client:
            assert status == (await ask(client, x_user="ann"))[0]
            assert await proxy.stat("ratelimit.error") == 1


async def test_envoys_google_grpc_client_may_compress(tmp_path):
    """With gzip on in Envoy's other gRPC client, requests are limited as without."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with upstream() as up, service("--config", str(tmp_path / "policy.yaml")) as running:
        google = {
            "target_uri": running.grpc,
            "stat_prefix": "rls",
            "channel_args": {
                "args": {"grpc.default_compression_algorithm": {"int_value": grpc.Compression.Gzip.value}}
            },
        }
        called = {"grpc_service": {"google_grpc": google, "timeout": "2s"}, "transport_api_version": "V3"}
        config = bootstrap([running.grpc], up, ROUTES, rate_limit_service=called)
        async with envoy(config, tmp_path) as proxy, aiohttp.ClientSession(proxy.url) as client:
            user = "ann" * 200  # gRPC compresses what becomes smaller
            assert [(await ask(client, x_user=user))[0] for _ in range(5)] == [200, 200, 200, 429, 429]
            assert await proxy.stat("ratelimit.error") == 0
