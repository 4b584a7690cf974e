"""The process as those see it who run it: its start, its signals, its health, its log."""

import asyncio
import json
import resource
import socket

import aiohttp
import grpc
import pytest
import trustme
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ratelimitd.proto import message
from testkit.builds import extension_only
from testkit.redis_server import free_port, redis_server
from tests.service import service

pytestmark = pytest.mark.process

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

POLICY = "domain: d\ndescriptors:\n  - {{key: user, rate_limit: {{unit: hour, requests_per_unit: {limit}}}{more}}}\n"


@pytest.fixture
def policy(tmp_path):
    """A policy file of one limit; call it to write another."""
    path = tmp_path / "policy.yaml"

    def write(limit=3, more=""):
        path.write_text(POLICY.format(limit=limit, more=more))
        return str(path)

    write()
    return write


async def get(address, path, **options):
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}", **options) as answer:
        return answer.status, await answer.text()


async def call(address, user="x", credentials=None):
    """Ask over gRPC; returns the overall code's name, or the error."""
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value=user)
    channel = aio.secure_channel(address, credentials) if credentials else aio.insecure_channel(address)
    async with channel:
        try:
            answer = await channel.unary_unary(SHOULD_RATE_LIMIT)(request.SerializeToString(), timeout=10)
        except aio.AioRpcError as error:
            return error.code(), error.details()
    return Response.Code.Name(Response.FromString(answer).overall_code)


async def grpc_health(address):
    async with aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="ratelimit"))
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def until(probe, wanted):
    """Ask again until the answer is the wanted one."""
    async with asyncio.timeout(20):
        while (found := await probe()) != wanted:
            await asyncio.sleep(0.02)
    return found


async def test_it_serves_what_it_says(policy):
    """The start line names where gRPC and HTTP are, and both decide over the same counters."""
    async with service("--config", policy()) as running:
        assert [await call(running.grpc) for _ in range(2)] == ["OK", "OK"]
        body = {"domain": "d", "descriptors": [{"entries": [{"key": "user", "value": "x"}]}]}
        statuses = []
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.post(f"http://{running.http}/json", data=json.dumps(body)) as answer:
                    statuses.append((answer.status, (await answer.json())["overallCode"]))
        assert statuses == [(200, "OK"), (429, "OVER_LIMIT")]
        for address, path in [(running.http, "/healthcheck"), (running.http, "/readyz"), (running.http, "/livez")]:
            assert await get(address, path) == (200, "OK")
        assert "d.user: unit=HOUR requests_per_unit=3" in (await get(running.debug, "/rlconfig"))[1]


async def test_the_start_raises_the_limit_of_open_files(policy):
    """As Go's runtime does: a shell's soft limit of 1,024 is no bound of connections where the hard one is higher."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        async with service("--config", policy()) as running:
            assert resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@extension_only
async def test_the_start_line_says_which_transport_serves(policy):
    """auto takes the fast transport where it was built, as it must be where the tests run."""
    for asked, serves in [("auto", "nghttp2"), ("grpcio", "grpcio")]:
        async with service("--config", policy(), env={"TRANSPORT": asked}) as running:
            assert serves == (await running.logged("serving"))["transport"]
            assert await call(running.grpc) == "OK"


@extension_only
async def test_grpc_on_a_unix_socket(policy, tmp_path):
    """GRPC_UDS replaces host and port on either transport."""
    for transport in ("nghttp2", "grpcio"):
        path = str(tmp_path / f"{transport}.sock")
        async with service("--config", policy(), env={"TRANSPORT": transport, "GRPC_UDS": path}) as running:
            assert running.grpc == f"unix:{path}"
            assert await call(running.grpc) == "OK"


@extension_only
async def test_grpc_over_mutual_tls(policy, tmp_path):
    """With GRPC_SERVER_USE_TLS and a client CA only a client with its certificate is served, on either transport."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("server", "client"):
        issued = ca.issue_cert("localhost", "127.0.0.1", f"{name}.example")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    env = {
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": str(tmp_path / "server.pem"),
        "GRPC_SERVER_TLS_KEY": str(tmp_path / "server.key"),
        "GRPC_CLIENT_TLS_CACERT": str(tmp_path / "ca.pem"),
        "GRPC_CLIENT_TLS_SAN": "client.example",
    }
    files = [(tmp_path / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem")]
    for transport in ("nghttp2", "grpcio"):
        async with service("--config", policy(), env={**env, "TRANSPORT": transport}) as running:
            assert await call(running.grpc, credentials=grpc.ssl_channel_credentials(*files)) == "OK"
            nobody = grpc.ssl_channel_credentials(files[0])
            assert (await call(running.grpc, credentials=nobody))[0] == grpc.StatusCode.UNAVAILABLE


@pytest.mark.scenario("the service shuts down")
async def test_sigterm_serves_through_the_delay_and_ends_with_0(policy):
    """After SIGTERM health fails at once, calls are answered all through DRAIN_DELAY, and the exit code is 0."""
    async with service("--config", policy(), env={"DRAIN_DELAY": "1s"}) as running:
        assert await grpc_health(running.grpc) == "SERVING"
        running.terminate()
        assert "1 s more (DRAIN_DELAY)" in (await running.logged("draining"))["note"]
        assert await grpc_health(running.grpc) == "NOT_SERVING"
        assert (await get(running.http, "/healthcheck"))[0] == 500
        assert await get(running.http, "/readyz") == (503, "sigterm: shutting down\n")
        assert await get(running.http, "/livez") == (200, "OK")
        assert await call(running.grpc) == "OK"
        assert await running.ended() == 0
        assert (await call(running.grpc))[0] == grpc.StatusCode.UNAVAILABLE


@pytest.mark.scenario("the service shuts down")
async def test_a_second_signal_ends_at_once(policy):
    """A second SIGTERM does not wait for the drain."""
    async with service("--config", policy(), env={"DRAIN_DELAY": "1h"}) as running:
        running.terminate()
        await running.logged("draining")
        running.terminate()
        assert await running.ended() == 143


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["GRPC_PORT", "PORT", "DEBUG_PORT"])
async def test_a_taken_port_ends_the_start(policy, variable):
    """Whichever port somebody else has, the start fails with exit code 1 and names it."""
    async with service("--config", policy()) as first:
        where = {"GRPC_PORT": first.grpc, "PORT": first.http, "DEBUG_PORT": first.debug}[variable]
        port = where.rpartition(":")[2]
        async with service("--config", policy(), env={variable: port}, ready=False) as second:
            assert await second.ended() == 1
            assert f":{port}" in (await second.logged("cannot start"))["reason"]


@pytest.mark.scenario("an invalid policy, at startup or on reload")
async def test_a_bad_first_policy_is_up_unready_and_unavailable(policy, tmp_path):
    """With a bad first policy the service lives, is not ready, and fails calls; a good one makes it ready."""
    (tmp_path / "policy.yaml").write_text("domain: d\ndescriptors:\n  - {value: x}\n")
    async with service("--config", str(tmp_path / "policy.yaml")) as running:
        assert "descriptor has empty key (line 3)" in running.text
        assert (await get(running.http, "/readyz"))[0] == 503
        assert (await get(running.http, "/healthcheck"))[0] == 500
        assert await grpc_health(running.grpc) == "NOT_SERVING"
        assert await get(running.http, "/livez") == (200, "OK")
        assert await call(running.grpc) == (grpc.StatusCode.UNAVAILABLE, "no rate limit configuration loaded")
        assert "ratelimit_service_config_load_error 1" in (await get(running.http, "/metrics"))[1]
        policy()
        await running.logged("policy loaded")
        await until(lambda: get(running.http, "/readyz"), (200, "OK"))
        assert await call(running.grpc) == "OK"


@pytest.mark.scenario("a policy in a ConfigMap")
async def test_sighup_reloads(policy):
    """SIGHUP takes the policy over at once, changed or not."""
    async with service("--config", policy()) as running:
        mark = len(running.log)
        running.process.send_signal(1)
        await running.logged("policy loaded", after=mark)
        metrics = (await get(running.http, "/metrics"))[1]
        assert "ratelimit_service_config_load_success 2" in metrics
        assert "ratelimitd_policy_generation 2" in metrics


@pytest.mark.scenario("a policy in a ConfigMap")
async def test_a_policy_whose_file_vanishes_is_enforced(policy, tmp_path):
    """A key of a ConfigMap that is renamed or removed lifts no limit; the log and a gauge say so until it is back."""
    policy(limit=1)
    (tmp_path / "folder").mkdir()
    file = (tmp_path / "policy.yaml").rename(tmp_path / "folder" / "policy.yaml")
    async with service("--config", str(tmp_path / "folder")) as running:
        assert [await call(running.grpc) for _ in range(2)] == ["OK", "OVER_LIMIT"]
        mark = len(running.log)
        file.rename(tmp_path / "policy.yaml")
        await running.logged("policy rejected", after=mark)
        await running.logged("no policy file is left", after=mark)
        assert await call(running.grpc) == "OVER_LIMIT"
        metrics = (await get(running.http, "/metrics"))[1]
        assert "\nratelimitd_policy_refused 1\n" in metrics
        assert "\nratelimitd_policy_rules 1\n" in metrics
        (tmp_path / "policy.yaml").rename(file)
        assert (await running.logged("policy loaded", after=mark))["changes"] == 0
        assert "ratelimitd_policy_refused 0" in (await get(running.http, "/metrics"))[1]


async def test_no_domain_is_a_warning_with_the_path(tmp_path):
    """A folder without policies is served, everything passes, and a warning names the resolved path."""
    (tmp_path / "real" / "config").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    async with service(env={"RUNTIME_ROOT": str(tmp_path / "link")}) as running:
        assert str(tmp_path / "real") in (await running.logged("no domain is defined"))["@message"]
        assert await call(running.grpc) == "OK"
        assert (await running.logged("unknown domain"))["domain"] == "d"


@pytest.mark.slow
async def test_healthy_only_with_a_configured_domain_when_asked(policy, tmp_path):
    """HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED makes a policy without a domain unhealthy."""
    (tmp_path / "empty").mkdir()
    env = {"HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED": "true"}
    async with service("--config", str(tmp_path / "empty"), env=env) as running:
        assert (await get(running.http, "/healthcheck"))[0] == 500
    async with service("--config", policy(), env=env) as running:
        assert (await get(running.http, "/healthcheck"))[0] == 200


@pytest.mark.redis
@pytest.mark.scenario("probes that report a wrong state")
async def test_it_listens_before_redis_is_up(policy):
    """Without its Redis the service listens, lives, is unhealthy and fails calls; when Redis comes it serves."""
    port = free_port()
    async with service("--config", policy(), env={"REDIS_URL": f"127.0.0.1:{port}"}) as running:
        code, details = await call(running.grpc)
        assert (code, details.startswith("disconnected: ")) == (grpc.StatusCode.UNAVAILABLE, True)
        assert (await get(running.http, "/healthcheck"))[0] == 500
        assert await grpc_health(running.grpc) == "NOT_SERVING"
        assert await get(running.http, "/livez") == (200, "OK")
        with redis_server("--port", str(port)):
            await until(lambda: get(running.http, "/healthcheck"), (200, "OK"))
            assert await call(running.grpc) == "OK"


@pytest.mark.slow
async def test_a_redis_that_hangs_keeps_nobody_up(policy):
    """A Redis that accepts and says nothing does not delay the start, and limits that need no store decide."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody ever reads
        port = silent.getsockname()[1]
        began = asyncio.get_running_loop().time()
        env = {"REDIS_URL": f"127.0.0.1:{port}"}
        async with service("--config", policy(more=", on_store_failure: allow"), env=env) as running:
            assert await call(running.grpc) == "OK"
            running.terminate()
            assert await running.ended() == 0
        assert asyncio.get_running_loop().time() - began < 9, "REDIS_TIMEOUT's 10 s must not be waited for"


async def test_a_sighup_before_it_serves_does_no_harm(policy):
    """A signal to reload that comes while the first policy is loaded does not end the process."""
    async with service("--config", policy(), ready=False) as running:
        await running.logged("starting")
        running.process.send_signal(1)
        await running.logged("serving")


@pytest.mark.scenario("probes that report a wrong state")
async def test_health_follows_redis_only_where_a_limit_needs_it(policy):
    """When no limit fails with its store, a lost Redis leaves the service healthy, and its limits decide."""
    where = f"127.0.0.1:{free_port()}"
    async with service(
        "--config", policy(limit=2, more=", on_store_failure: local"), env={"REDIS_URL": where}
    ) as running:
        assert (await get(running.http, "/healthcheck"))[0] == 200
        assert [await call(running.grpc) for _ in range(3)] == ["OK", "OK", "OVER_LIMIT"]
        assert 'ratelimitd_store_fallbacks_total{policy="local"} 3' in (await get(running.http, "/metrics"))[1]


@pytest.mark.redis
async def test_redis_and_memory_count_the_same(policy):
    """Counters in Redis are shared by services; those in memory are one process's own."""
    with redis_server() as redis:
        env = {"REDIS_URL": redis.address}
        async with service("--config", policy(), env=env) as one, service("--config", policy(), env=env) as two:
            found = [await call(each.grpc) for each in (one, two, one, two)]
        assert found == ["OK", "OK", "OK", "OVER_LIMIT"]
        with redis.client() as client:
            (key,) = client.keys("*")
            assert key.startswith(b"d_user_x_")
            assert client.get(key) == b"4"


@pytest.mark.redis
@pytest.mark.scenario("one hot key")
async def test_the_over_limit_cache_spares_redis(policy):
    """With LOCAL_CACHE_SIZE_IN_BYTES a denial is not asked for again; it is counted, also under its own name."""
    with redis_server() as redis:
        env = {"REDIS_URL": redis.address, "LOCAL_CACHE_SIZE_IN_BYTES": "1MiB"}
        async with service("--config", policy(limit=1), env=env) as running:
            assert ["OK", *["OVER_LIMIT"] * 4] == [await call(running.grpc) for _ in range(5)]
            metrics = (await get(running.http, "/metrics"))[1]
        assert 'ratelimit_service_rate_limit_over_limit_with_local_cache{domain="d",key1="user"} 3' in metrics
        assert 'ratelimit_service_rate_limit_over_limit{domain="d",key1="user"} 4' in metrics
        with redis.client() as client:
            assert client.get(client.keys("*")[0]) == b"2"


@pytest.mark.redis
@pytest.mark.scenario("logs that fill up or contain secrets")
async def test_secrets_are_nowhere(policy):
    """Redis' password is in no log at DEBUG, no error, metric or listing, whether Redis takes it or not."""
    canary = "canary-5f1b9c"
    with redis_server("--requirepass", canary, tcp=True) as redis:
        for secret, given in [(canary, {"REDIS_AUTH": canary}), ("wrong-" + canary, {"REDIS_AUTH": "wrong-" + canary})]:
            env = {"REDIS_URL": redis.address, "LOG_LEVEL": "debug", "LOG_DECISIONS": "true", **given}
            async with service("--config", policy(), env=env) as running:
                said = [str(await call(running.grpc))]
                for address, path in [
                    (running.http, "/metrics"), (running.http, "/readyz"), (running.debug, "/rlconfig"),
                    (running.debug, "/stats"), (running.debug, "/"),
                ]:  # fmt: skip
                    said.append((await get(address, path))[1])
                running.terminate()
                await running.ended()
                said.append(running.text)
            assert ("OK" in said[0]) == (secret == canary)
            assert canary not in "".join(said)
        env = {"REDIS_URL": f"redis://:{canary}@{redis.address}", "REDIS_TIMEOUT": "none", "LOG_LEVEL": "debug"}
        async with service("--config", policy(), env=env, ready=False) as broken:
            assert await broken.ended() != 0
            assert canary not in broken.text


async def test_json_takes_what_grpc_takes(policy):
    """A body of MAX_REQUEST_BYTES is decided while probes, with two slashes, are answered; a byte more is 413."""
    descriptor = {"entries": [{"key": "k", "value": "v" * 200}]}
    body = json.dumps({"domain": "shop", "descriptors": [descriptor] * 64}).encode().ljust(128 << 10)
    async with service("--config", policy()) as running, aiohttp.ClientSession() as session:
        for size, status in ((0, 200), (1, 413)):
            async with session.post(f"http://{running.http}/json", data=body + b" " * size) as answer:
                assert answer.status == status
        assert await get(running.http, "//healthcheck") == (200, "OK")


async def test_prometheus_listens_on_both_families(policy):
    """A port alone, as Envoy Gateway sets PROMETHEUS_ADDR, answers scrapes of IPv4 and of IPv6, as in Go."""
    env = {"USE_PROMETHEUS": "true", "PROMETHEUS_ADDR": ":0"}
    async with service("--config", policy(), env=env) as running:
        port = (await running.logged("serving"))["prometheus"].rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            assert (await get(f"{host}:{port}", "/metrics"))[0] == 200


async def test_prometheus_listens_where_it_is_told(policy):
    """USE_PROMETHEUS serves the metrics at PROMETHEUS_ADDR and PROMETHEUS_PATH; DISABLE_STATS serves none anywhere."""
    env = {"USE_PROMETHEUS": "true", "PROMETHEUS_ADDR": "127.0.0.1:0", "PROMETHEUS_PATH": "/numbers"}
    async with service("--config", policy(), env=env) as running:
        where = (await running.logged("serving"))["prometheus"]
        assert "ratelimitd_build_info" in (await get(where, "/numbers"))[1]
        assert (await get(where, "/metrics"))[0] == 404
    async with service("--config", policy(), env={**env, "DISABLE_STATS": "true"}) as running:
        assert "prometheus" not in await running.logged("serving")
        assert (await get(running.http, "/metrics"))[0] == 404
