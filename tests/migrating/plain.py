"""Plain deployments: envoyproxy/ratelimit's Compose files, and each kind of Redis by its variables."""

from testkit.pod import ADDRESS, volume
from testkit.redis_server import redis_server
from tests.app.test_process import call
from tests.migrating.deployed import check_confined, check_doctor, deployed, equal, page, statsd, told, until
from tests.migrating.manifests import COMPOSE, COMPOSE_ROOT, ISTIO

POLICY = "domain: d\ndescriptors:\n  - {key: user, rate_limit: {unit: hour, requests_per_unit: 2}}\n"


async def bites():
    """The limit of the policy, asked over gRPC at the published port."""
    equal([await call(f"{ADDRESS}:8081") for _ in range(3)], ["OK", "OK", "OVER_LIMIT"])


async def compose(folder):
    """docker-compose-example.yml: the limit bites, statsd gets the metrics, and every published port answers."""
    config = folder / "config"
    config.mkdir()
    (config / "config.yaml").write_text(POLICY)
    mounts = {"/data/ratelimit/config": config}
    with redis_server(tcp=True, port=6379) as redis:
        async with statsd() as sent, deployed(COMPOSE, folder, mounts, ("redis", "statsd")) as running:
            await running.logged("serving")
            await bites()
            equal([(await page(8080, "/healthcheck"))[0], (await page(6070, "/rlconfig"))[0]], [200, 200])
            (key,) = redis.ask("KEYS", "d_*")
            equal(key.rpartition("_")[0], "d_user_x")
            await check_doctor(running)
            check_confined(running, COMPOSE)
            equal(told(running), [])
            running.terminate()
            equal(await running.ended(), 0)
            await until(
                lambda: sent.has("ratelimit.service.rate_limit.d.user.over_limit:1|c"), True, lambda: running.text
            )


async def compose_root(folder):
    """docker-compose.yml: the folder that holds the root of the runtime is mounted, and is watched by its default."""
    data = folder / "data"
    (data / "ratelimit" / "config").mkdir(parents=True)
    (data / "ratelimit" / "config" / "config.yaml").write_text(POLICY)
    with redis_server(tcp=True, port=6379):
        async with deployed(COMPOSE_ROOT, folder, {"/data": data}, ("redis",)) as running:
            await running.logged("serving")
            await bites()
            equal(told(running), [])


async def config_map(folder):
    """A Deployment with a ConfigMap, without Helm: as Istio's sample, on IPv4, and the Services of its namespace."""
    env = {name: value for name, value in ISTIO.env.items() if name not in ("HOST", "GRPC_HOST")}
    mounts = {"/data/ratelimit/config": volume(folder / "ratelimit-config", {"config.yaml": POLICY})}
    with redis_server(tcp=True, port=6379):
        async with deployed(ISTIO._replace(env=env), folder, mounts, ("redis",)) as running:
            await running.logged("serving")
            await bites()
            equal(told(running), [])


SCENARIOS = (compose, compose_root, config_map)
