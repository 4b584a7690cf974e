"""Istio's sample: its Deployment's container, its ConfigMap, and an Envoy as its EnvoyFilter makes one."""

from contextlib import asynccontextmanager

import aiohttp

from testkit.envoy import bootstrap, envoy, header, route, upstream
from testkit.pod import ADDRESS, volume
from testkit.redis_server import redis_server
from tests.migrating.deployed import check_confined, check_doctor, deployed, equal, links, page, told, until
from tests.migrating.manifests import ISTIO
from tests.service import has_ipv6

POLICY = """
domain: ratelimit
descriptors:
  - key: PATH
    value: "/productpage"
    rate_limit: {{unit: hour, requests_per_unit: {requests}}}
  - key: PATH
    rate_limit: {{unit: hour, requests_per_unit: 100}}
"""
REDIS_PORT = 6379


def configured(folder, requests):
    """The ConfigMap ratelimit-config, or a change of it."""
    return volume(folder / "ratelimit-config", {"config.yaml": POLICY.format(requests=requests)})


@asynccontextmanager
async def pod(folder):
    """The Deployment's container, with the Services of its namespace, redis and ratelimit, in its environment."""
    mounts = {"/data/ratelimit/config": configured(folder, 2)}
    services = {**links("redis", REDIS_PORT), **links("ratelimit", 8080)}
    async with deployed(ISTIO, folder, mounts, ("redis",), services) as running:
        yield running


def proxy(up):
    """The gateway with both EnvoyFilters: closed on failure, a timeout of 10 s, limits by path."""
    routes = [route("/", [header(":path", "PATH")])]
    return bootstrap(["127.0.0.1:8081"], up, routes, domain="ratelimit", timeout="10s", failure_mode_deny=True)


async def asked(url, path, count):
    """The statuses of some requests."""
    found = []
    async with aiohttp.ClientSession(url) as client:
        for _ in range(count):
            async with client.get(path) as answer:
                found.append(answer.status)
    return found


async def limits(folder):
    """The path is limited, a change of the ConfigMap applies, and without Redis requests are denied as it asks for."""
    with redis_server(tcp=True, port=REDIS_PORT) as redis:
        async with pod(folder) as running, upstream() as up:
            await running.logged("serving")
            async with envoy(proxy(up), folder) as front:
                equal(await asked(front.url, "/productpage", 3), [200, 200, 429])
                equal(await asked(front.url, "/", 3), [200] * 3)
                configured(folder, 4)
                wanted = "ratelimit.PATH_/productpage: unit=HOUR requests_per_unit=4"
                await until(lambda: shown(wanted), True, lambda: running.text)
                equal(await asked(front.url, "/productpage", 2), [200, 429])
                (key,) = (each for each in redis.ask("KEYS", "*") if "productpage" in each)
                equal(key.rpartition("_")[0], "ratelimit_PATH_/productpage")
                equal(told(running), [])
                await check_doctor(running)
                check_confined(running, ISTIO)
                redis.kill()
                equal(set(await asked(front.url, "/", 3)), {500})


async def shown(text):
    """Whether /rlconfig has this, by the address of the pod."""
    return text in (await page(6070, "/rlconfig"))[1]


async def addresses(folder):
    """HOST and GRPC_HOST of the sample, "::", are every address of both families."""
    with redis_server(tcp=True, port=REDIS_PORT):
        async with pod(folder) as running:
            await running.logged("serving")
            hosts = ["127.0.0.1", ADDRESS, *(["::1"] if has_ipv6() else [])]
            equal([(await page(8080, "/healthcheck", host))[0] for host in hosts], [200] * len(hosts))
            equal([(await page(6070, "/rlconfig", host))[0] for host in hosts[:2]], [200] * 2)


SCENARIOS = (limits, addresses)
