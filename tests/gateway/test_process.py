"""The proxy as a process: zero configuration, its file, its signals, its log, a real upstream behind it."""

import asyncio
import json
import uuid
from contextlib import asynccontextmanager

import aiohttp
import pytest

from testkit.redis_server import free_port, redis_server
from tests.gateway_process import FILE, gateway, statuses, upstream
from tests.service import service

pytestmark = pytest.mark.process

KEYS = {"premium": "api-key:premium", "standard": "api-key:standard"}


@asynccontextmanager
async def default(**env):
    """The proxy without a file before an upstream; yields a client, the process, and what the upstream saw."""
    async with upstream() as (url, seen), gateway(env={"DOWNSTREAM_URL": url, **env}) as running:
        async with aiohttp.ClientSession(f"http://{running.proxy}") as client:
            yield client, running, seen


async def test_zero_configuration_limits_by_tier_and_address():
    """A premium key has 200 at once, a standard one 20, whoever brings none 10; invented keys make no new bucket."""
    async with default() as (client, _, _):
        assert await statuses(client, 10) == [200] * 10
        assert 429 in await statuses(client, 5)
        invented = [(await statuses(client, 1, **{"X-API-Key": f"made-up-{n}"}))[0] for n in range(10)]
        assert 429 in invented
        assert await statuses(client, 60, **{"X-API-Key": KEYS["premium"]}) == [200] * 60
        standard = await statuses(client, 40, **{"X-API-Key": KEYS["standard"]})
        assert standard[:20] == [200] * 20
        assert 429 in standard


async def test_an_expensive_endpoint_has_a_limit_of_its_own():
    """/api/expensive takes 10 a minute of a standard key, whose other requests go on."""
    async with default() as (client, _, _):
        standard = {"X-API-Key": KEYS["standard"]}
        assert await statuses(client, 12, "/api/expensive", **standard) == [200] * 10 + [429] * 2
        assert await statuses(client, 5, "/api/cheap", **standard) == [200] * 5


async def test_a_denial_is_the_seeds():
    """429 with error, message and request_id as JSON, Retry-After and X-RateLimit-*; the upstream is not asked."""
    async with default() as (client, _, seen):
        await statuses(client, 10, "/api/expensive")
        asked = len(seen)
        async with client.get("/api/expensive", headers={"X-Request-Id": "mine-1"}) as answer:
            assert answer.status == 429
            assert (
                await answer.read() == b'{"error":"rate_limited","message":"rate limit exceeded","request_id":"mine-1"}'
            )
            assert answer.headers["X-Request-Id"] == "mine-1"
            assert answer.headers["X-RateLimit-Remaining"] == "0"
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert asked == len(seen)


async def test_request_ids_are_passed_on_when_sane_and_made_when_not():
    """A sane X-Request-Id reaches the upstream and comes back; anything else is replaced by a UUID."""
    async with default() as (client, _, _):
        for given, kept in [("abc-123", True), ("a b", False), ("x" * 200, False), (None, False)]:
            headers = {} if given is None else {"X-Request-Id": given}
            async with client.get("/", headers=headers) as answer:
                told = answer.headers["X-Request-Id"]
                seen = {name.lower(): value for name, value in (await answer.json())["headers"].items()}
            assert told == seen["x-request-id"]
            assert (told == given) == kept
            if not kept:
                assert uuid.UUID(told).version == 4


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/a%2fb", {}, 400),
        ("/a%5cb", {}, 400),
        ("/ok", {"X-API-Key": ("one", "two")}, 400),
        ("/ok", {"Authorization": ("one", "two")}, 400),
        ("/%61//b;%40?c=/../d", {}, 200),
    ],
)
async def test_what_two_readers_could_read_differently_is_refused(path, headers, status):
    """Encoded slashes and backslashes, and two lines where one may be, are 400; the upstream gets the raw path."""
    async with default() as (_, running, _):
        host, port = running.proxy.split(":")
        reader, writer = await asyncio.open_connection(host, port)
        lines = [f"{name}: {value}\r\n" for name, values in headers.items() for value in values]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{''.join(lines)}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert f"HTTP/1.1 {status}".encode() == answer[:12]
        if status == 200:
            assert path.encode() in answer


@pytest.mark.parametrize(
    "path", ["/free/../limited/x?q=/../y", "//limited/x?q=/../y", "/%2e%2E//limited/x?q=/../y", "/limited//./x?q=/../y"]
)
async def test_a_path_that_programs_resolve_differently_is_sent_resolved(path):
    """The upstream serves the page that was counted, whether it removes dot segments and merges slashes or not."""
    async with default() as (_, running, _):
        host, port = running.proxy.split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer[:12] == b"HTTP/1.1 200"
    assert b"/limited/x?q=/../y" in answer
    assert path.encode() not in answer


async def test_the_pages_of_operators_are_on_the_listener():
    """/healthz, /readyz and /metrics answer without a limit, with labels from the configuration alone."""
    async with default() as (client, _, seen):
        await statuses(client, 15, "/secret-path?token=canary", **{"X-API-Key": "canary-key"})
        asked = len(seen)
        for page in ("/healthz", "/readyz"):
            async with client.get(page) as answer:
                assert (answer.status, await answer.text()) == (200, "OK")
        async with client.get("/metrics") as answer:
            text = await answer.text()
        assert 'gateway_requests_total{route="/",status="200"}' in text
        assert 'gateway_rate_limited_total{route="/",limit="gateway.remote_address",reason="over_limit"}' in text
        assert "gateway_request_duration_seconds_count 15" in text
        assert 'gateway_upstream_breaker_state{upstream="app"} 0' in text
        assert "canary" not in text
        assert asked == len(seen)


async def test_the_access_log_says_what_happened_and_no_secret():
    """A JSON line for each request, with the seed's fields and ours; neither a query nor a key is in it."""
    async with default() as (client, running, _):
        async with client.get("/p?token=canary", headers={"X-API-Key": "api-key:premium", "X-Request-Id": "r1"}):
            pass
        running.terminate()
        assert await running.ended() == 0
        (line,) = [json.loads(line) for line in running.output.splitlines()]
    assert tuple(line[name] for name in ("level", "message", "method", "path", "request_id", "status")) == (
        "info",
        "request",
        "GET",
        "/p",
        "r1",
        200,
    )
    assert isinstance(line["latency"], int)
    assert line["latency"] > 0
    assert {"time", "error", "client", "route", "upstream", "received", "sent", "limit"} <= set(line)
    assert "canary" not in running.output + running.text
    assert "api-key:premium" not in running.output + running.text


async def test_a_head_that_is_refused_is_counted_and_logged():
    """What never became a request is seen by its operator too: status, client and why, and nothing it sent."""
    async with default() as (client, running, _):
        reader, writer = await asyncio.open_connection(*running.proxy.split(":"))
        writer.write(b"GET /canary HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        async with client.get("/metrics") as answer:
            assert 'gateway_requests_total{route="",status="400"} 1' in await answer.text()
        running.terminate()
        assert await running.ended() == 0
        (line,) = [json.loads(line) for line in running.output.splitlines()]
    assert (line["status"], line["client"], line["path"]) == (400, "127.0.0.1", "")
    assert "Host" in line["error"]
    assert "canary" not in running.output + running.text


@pytest.mark.redis
async def test_keys_are_nowhere_in_redis():
    """With counters in Redis no API key stands in a counter's name, whether it is known or not."""
    with redis_server() as redis:
        async with default(REDIS_ADDR=redis.address, IDENTITY_SECRET="pepper-pepper") as (client, _, _):
            for key in (KEYS["premium"], "invented-canary"):
                await statuses(client, 2, **{"X-API-Key": key})
        with redis.client() as look:
            names = b"".join(look.keys("*"))
    assert names
    assert b"api-key" not in names
    assert b"canary" not in names


@pytest.mark.slow
async def test_a_changed_file_is_in_force_whole_or_not_at_all(tmp_path):
    """A new limit applies after the file changed; a broken file is refused with its line and changes nothing."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=2, policy="error"))
        async with (
            gateway("--config", str(file)) as running,
            aiohttp.ClientSession(f"http://{running.proxy}") as client,
        ):
            assert [*await statuses(client, 3, "/api/x"), *await statuses(client, 1, "/other")] == [200, 200, 429, 404]
            mark = len(running.log)
            file.write_text(FILE.format(url=url, limit=5, policy="error"))
            await running.logged("policy loaded", after=mark)
            assert await statuses(client, 4, "/api/x") == [200, 200, 200, 429]
            mark = len(running.log)
            file.write_text(FILE.format(url=url, limit=9, policy="error").replace("upstream: app", "upstream: ap"))
            assert "(line 5)" in (await running.logged("a route needs 'upstream'", after=mark))["@message"]
            assert await statuses(client, 1, "/api/x") == [429]


async def test_a_file_with_errors_does_not_start(tmp_path):
    """Without a valid file nobody knows where to listen: every error is told, and the exit code is 1."""
    (tmp_path / "gateway.yaml").write_text("listen: 5\nroutes: []\nwrong: 1\n")
    async with gateway("--config", str(tmp_path / "gateway.yaml"), ready=False) as running:
        assert await running.ended() == 1
        assert "(line 3)" in running.text


@pytest.mark.parametrize(("policy", "found"), [("error", 503), ("allow", 200), ("deny", 429), ("local", 200)])
async def test_a_lost_store_is_answered_by_the_limits_policy(tmp_path, policy, found):
    """error is 503, allow passes, deny is 429, local counts here; the access log has the reason and its text."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=2, policy=policy))
        env = {"REDIS_ADDR": f"127.0.0.1:{free_port()}"}
        async with gateway("--config", str(file), env=env) as running:
            async with aiohttp.ClientSession(f"http://{running.proxy}") as client:
                assert [found] == await statuses(client, 1, "/api/x")
                if policy == "local":
                    assert await statuses(client, 2, "/api/x") == [200, 429]
            running.terminate()
            await running.ended()
        line = json.loads(running.output.splitlines()[-1])
        told = f"on_store_failure: {policy} (limit d.all_api)"
        assert line["reason"] == "store_failure"
        assert (told in line["error"]) is (policy != "allow")


@pytest.mark.parametrize(
    ("env", "answers", "counted"),
    [
        ({"REDIS_ADDR": "{away}"}, [503, 503], 'should_rate_limit_error{err_type="redis_error"} 2'),
        ({"SHADOW_MODE": "true"}, [200, 200], "global_shadow_mode 1"),
    ],
)
async def test_failures_and_shadowed_answers_are_counted_as_the_services_are(tmp_path, env, answers, counted):
    """What a lost store failed, and what SHADOW_MODE let pass, is in the proxy's metrics under the service's names."""
    file = tmp_path / "gateway.yaml"
    env = {name: value.format(away=f"127.0.0.1:{free_port()}") for name, value in env.items()}
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=1, policy="error"))
        async with (
            gateway("--config", str(file), env=env) as running,
            aiohttp.ClientSession(f"http://{running.proxy}") as client,
        ):
            assert answers == await statuses(client, 2, "/api/x")
            async with client.get("/metrics") as answer:
                assert f"ratelimit_service_{counted}" in (await answer.text()).splitlines()


async def test_sigterm_drains_like_the_service():
    """After SIGTERM /readyz fails, requests are answered all through DRAIN_DELAY, and the exit code is 0."""
    async with default(DRAIN_DELAY="1s") as (client, running, _):
        running.terminate()
        await running.logged("draining")
        assert await statuses(client, 1, "/readyz") == [503]
        assert await statuses(client, 2) == [200, 200]
        assert await running.ended() == 0


@pytest.mark.parametrize(("admin", "prefix"), [("", ""), ("admin: {prefix: /-}\n", "/-"), ("admin: {port: 0}\n", None)])
async def test_its_pages_answer_alike_wherever_the_file_has_them(tmp_path, admin, prefix):
    """On the listener, below a prefix and on a port of their own; HEAD is GET without its body."""
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(url="http://127.0.0.1:1", limit=2, policy="error") + admin)
    async with gateway("--config", str(file)) as running, aiohttp.ClientSession() as client:
        host = running.proxy if prefix is not None else (await running.logged("serving"))["admin"]
        for path, version in (("/healthz", ""), ("/metrics", "version=0.0.4; ")):
            kind = f"text/plain; {version}charset=utf-8"
            url = f"http://{host}{prefix or ''}{path}?a=b"
            async with client.get(url) as got, client.head(url) as head:
                assert (200, kind) == (got.status, got.headers["Content-Type"])
                assert (200, kind, b"") == (head.status, head.headers["Content-Type"], await head.read())
                assert await got.read()


async def test_the_service_beside_it_shares_its_counters(tmp_path):
    """With --with-service Envoy's API counts where the proxy does."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=3, policy="error"))
        async with gateway("--config", str(file), "--with-service") as running:
            addresses = await running.logged("serving")
            async with aiohttp.ClientSession() as client:
                assert await statuses(client, 2, f"http://{running.proxy}/api/x") == [200, 200]
                body = {"domain": "d", "descriptors": [{"entries": [{"key": "all", "value": "api"}]}]}
                codes = []
                for _ in range(2):
                    async with client.post(f"http://{addresses['http']}/json", json=body) as answer:
                        codes.append(answer.status)
    assert codes == [200, 429]


async def test_the_service_serves_the_same_file(tmp_path):
    """`serve --config` takes a gateway file too, and its limits mean the same there: token buckets."""
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(url="http://localhost:1", limit=3, policy="error"))
    async with service("--config", str(file)) as running, aiohttp.ClientSession() as client:
        async with client.get(f"http://{running.debug}/rlconfig") as answer:
            assert "d.all_api: unit=HOUR requests_per_unit=3" in (listing := await answer.text())
    assert "algorithm: token_bucket" in listing


async def test_an_answer_of_the_gateways_own_has_one_request_id():
    """When the upstream refuses, the 502 has one X-Request-Id, which its body and the log have too."""
    async with gateway(env={"DOWNSTREAM_URL": f"http://127.0.0.1:{free_port()}"}) as running:
        async with aiohttp.ClientSession(f"http://{running.proxy}") as client, client.get("/") as answer:
            assert answer.status == 502
            (told,) = answer.headers.getall("X-Request-Id")
            assert told == (await answer.json())["request_id"]
        running.terminate()
        await running.ended()
        assert [told] == [json.loads(line)["request_id"] for line in running.output.splitlines()]


async def test_an_encoded_slash_hides_no_route(tmp_path):
    """With encoded_slash: keep, a path that belongs to a route further up once it is decoded is 400; others go on."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        routes = [{"match": {"path": "/api/expensive"}}, {"match": {"prefix": "/"}}]
        policies = {"domain": "d", "descriptors": []}
        top = {"listen": "127.0.0.1:0", "upstreams": {"app": {"url": url}}, "encoded_slash": "keep"}
        file.write_text(json.dumps({**top, "routes": routes, "policies": policies}))
        async with gateway("--config", str(file)) as running:
            host, port = running.proxy.split(":")
            answers = {}
            for path in ("/api%2Fexpensive", "/a%2Fb"):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                answers[path] = await reader.read()
                writer.close()
    assert answers["/api%2Fexpensive"].startswith(b"HTTP/1.1 400")
    assert b"another route" in answers["/api%2Fexpensive"]
    assert answers["/a%2Fb"].startswith(b"HTTP/1.1 200")
    assert b"/a%2Fb" in answers["/a%2Fb"]
