"""Agent Router, the former Envoy AI Gateway: its container, its control plane in plaintext, and quotas in tokens."""

from testkit.control_plane import config, control_plane
from testkit.envoy import bootstrap, envoy, generic, per_route, upstream
from testkit.redis_server import redis_server
from tests.app.test_process import call
from tests.migrating.deployed import check_confined, check_doctor, deployed, equal, page, told, until
from tests.migrating.istio import asked
from tests.migrating.manifests import AGENT_ROUTER, AI_GATEWAY

NODE = "envoy-ai-gateway-ratelimit"
DOMAIN = "ai-gateway-quota"
NAMES = ("redis.redis-system.svc.cluster.local", "ai-gateway-controller.envoy-ai-gateway-system.svc.cluster.local")
BACKENDS = ("default/first", "default/second")
MODEL = "model-a"
TOKENS = 5
"""Cost of a request that Envoy reports at its end."""


def quota(requests):
    """What a QuotaPolicy with two backends makes: a budget for a model at each of them."""
    limit = {"rate_limit": {"unit": "hour", "requests_per_unit": requests}, "quota_mode": True}
    model = {"key": "model_name_override", "value": MODEL, **limit}
    backends = [{"key": "backend_name", "value": each, "descriptors": [model]} for each in BACKENDS]
    return config(DOMAIN, *backends)


def proxy(up):
    """An Envoy that asks for both backends of a route, and reports the cost of one at the end of the stream."""
    asking = [{"actions": entries(backend)} for backend in BACKENDS]
    reporting = {
        "actions": entries(BACKENDS[0]),
        "hits_addend": {"number": TOKENS},
        "apply_on_stream_done": True,
    }
    rule = per_route("/", **asking[0])
    configured = rule["typed_per_filter_config"]["envoy.filters.http.ratelimit"]
    configured["rate_limits"] = [*asking, reporting]
    return bootstrap(["127.0.0.1:8081"], up, [rule], domain=DOMAIN, timeout="5s")


def entries(backend):
    return [generic("backend_name", backend), generic("model_name_override", MODEL)]


async def limits(folder, manifest=AGENT_ROUTER, expected=()):
    """It waits for the control plane, unhealthy; then a request passes while one backend has quota left."""
    with redis_server(tcp=True, port=6379) as redis:
        async with deployed(manifest, folder, {}, NAMES) as running, upstream() as up:
            await running.logged("serving")
            equal((await page(8080, "/healthcheck"))[0], 500)
            equal((await call("127.0.0.1:8081"))[1], "no rate limit configuration loaded")
            async with control_plane(port=18002) as plane:
                plane.push("1", quota(8), node=NODE)
                await plane.acked("1")
                await until(healthy, 200, lambda: running.text)
                async with envoy(proxy(up), folder) as front:
                    equal(await asked(front.url, "/", 2), [200] * 2)
                    await until(lambda: counted(redis, BACKENDS[0]), 2 * (1 + TOKENS), lambda: running.text)
                    equal(await counted(redis, BACKENDS[1]), 2)
                    equal(await asked(front.url, "/", 7), [200] * 6 + [429])
                await check_doctor(running)
                check_confined(running, manifest)
                equal(told(running), list(expected))


async def healthy():
    """The status of /healthcheck, which the manifest does not probe."""
    return (await page(8080, "/healthcheck"))[0]


async def counted(redis, backend):
    """The counter of a backend, by envoyproxy/ratelimit's key."""
    keys = redis.ask("KEYS", f"{DOMAIN}_backend_name_{backend}_model_name_override_{MODEL}_*")
    return sum(int(redis.ask("GET", key)) for key in keys)


async def arguments(folder):
    """The argument that its older manifest passes is told, and ignored."""
    ignored = "arguments that are ignored, as envoyproxy/ratelimit ignores all: --quotaRateLimitServiceHost"
    await limits(folder, AI_GATEWAY, [ignored])


SCENARIOS = (limits, arguments)
