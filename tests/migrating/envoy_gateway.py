"""Envoy Gateway: its Deployment's container, its control plane over mutual TLS, and an Envoy as it configures one."""

from contextlib import asynccontextmanager

import grpc
import trustme
import yaml
from grpc import aio

from testkit.blocks import blocks
from testkit.control_plane import config, control_plane
from testkit.envoy import bootstrap, envoy, generic, header, route, upstream
from testkit.pasted import ROOT
from testkit.pod import volume
from testkit.redis_server import redis_server
from testkit.tls_files import tls_files
from testkit.tls_front import tls_front
from tests.app.test_process import SHOULD_RATE_LIMIT, Request, Response, get
from tests.e2e.test_rolling import statuses
from tests.mapper.files import GATEWAY
from tests.migrating.deployed import (
    check_confined,
    check_doctor,
    deployed,
    equal,
    links,
    page,
    probe,
    statsd,
    told,
    until,
)
from tests.migrating.manifests import (
    ENVOY_GATEWAY,
    ENVOY_GATEWAY_REDIS,
    ENVOY_GATEWAY_REDIS_TLS,
    ENVOY_GATEWAY_STATSD,
    ENVOY_GATEWAY_TRACING,
)

REDIS_HOST, _, REDIS_PORT = ENVOY_GATEWAY_REDIS.rpartition(":")
LISTENER = "default/eg/http"
ROUTE = "httproute/default/http-ratelimit/rule/0/match/0/ratelimit_example"
RULE = "rule-0-match-0"
NODE = "envoy-ratelimit"
SERVICE = "envoy-ratelimit.envoy-gateway-system.svc.cluster.local"
UNREAD = "variables that are set but have no effect: GRPC_SERVER_TLS_CA_CERT (see docs/settings.md)"
STARTUP, READINESS, LIVENESS = ENVOY_GATEWAY.probes


def policy(requests):
    """A limit for each user: a rule with a header of type Distinct, of the route's BackendTrafficPolicy."""
    rule = {"key": RULE, "rate_limit": {"unit": "hour", "requests_per_unit": requests}}
    return config(LISTENER, {"key": ROUTE, "value": ROUTE, "descriptors": [rule]})


def certificates(folder):
    """The Secrets that certgen makes, as folders of their mounts: of the controller, and of the rate-limit service."""
    authority = trustme.CA()
    of = "envoy-gateway-system"
    names = {
        "controller": ("envoy-gateway", f"envoy-gateway.{of}", f"envoy-gateway.{of}.svc"),
        "service": (f"*.{of}", f"*.{of}.svc", f"*.{of}.svc.cluster.local"),
    }
    made = {}
    for name, hosts in names.items():
        issued = authority.issue_cert(*hosts)
        files = {"ca.crt": authority.cert_pem.bytes(), "tls.key": issued.private_key_pem.bytes()}
        made[name] = volume(folder / name, {**files, "tls.crt": issued.cert_chain_pems[0].bytes()})
    return made


@asynccontextmanager
async def controller(folder, certs):
    """The control plane behind TLS 1.3; yields it and its connections."""
    own = certs["controller"]
    async with (
        control_plane() as plane,
        tls_front(18001, plane.address, str(own / "tls.crt"), str(own / "tls.key"), str(own / "ca.crt")) as seen,
    ):
        yield plane, seen


@asynccontextmanager
async def pod(folder, certs, manifest=ENVOY_GATEWAY, more=(), trusted=None):
    """The Deployment's container, with the Services of its namespace in its environment."""
    mounts = {
        "/certs": certs["service"],
        "/etc/statsd-exporter": volume(folder / "statsd-exporter-config", {"conf.yaml": GATEWAY}),
        **dict(more),
    }
    used = {path: mounts[path] for path in manifest.mounts}
    services = {**links("envoy-gateway", 18000), **links("envoy-ratelimit", 8081)}
    async with deployed(manifest, folder, used, ("envoy-gateway", REDIS_HOST), services, trusted) as running:
        yield running


def proxy(certs, up):
    """The configuration of an Envoy for this route, which calls the service over TLS with a certificate of its own."""
    built = bootstrap(
        ["127.0.0.1:8081"], up, [route("/", [generic(ROUTE, ROUTE), header("x-user", RULE)])], domain=LISTENER
    )
    own = certs["service"]
    chain = {"certificate_chain": {"filename": str(own / "tls.crt")}, "private_key": {"filename": str(own / "tls.key")}}
    built["static_resources"]["clusters"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": SERVICE,
            "common_tls_context": {
                "tls_certificates": [chain],
                "validation_context": {"trusted_ca": {"filename": str(own / "ca.crt")}},
            },
        },
    }
    return built


async def limits(folder):
    """Its Envoy is limited by what its control plane sends, and all who read its pages find them."""
    certs = certificates(folder)
    with redis_server(tcp=True, port=int(REDIS_PORT)) as redis:
        async with controller(folder, certs) as (plane, seen), pod(folder, certs) as running, upstream() as up:
            await until(lambda: probe(STARTUP), 200, lambda: running.text)
            plane.push("1", policy(2), node=NODE)
            await plane.acked("1")
            equal(told(running), [UNREAD])
            equal([(each.version(), each.selected_alpn_protocol()) for each in seen], [("TLSv1.3", "h2")])
            async with envoy(proxy(certs, up), folder) as front:
                equal(await statuses(front.url, "one", 3), [200, 200, 429])
                equal(await statuses(front.url, "two", 1), [200])
                plane.push("2", policy(4), node=NODE)
                await plane.acked("2")
                equal(await statuses(front.url, "one", 2), [200, 429])
                plane.push("3", node=NODE)
                await plane.acked("3")
                equal(await statuses(front.url, "one", 2), [200, 200])
                equal(await front.stat("ratelimit.error"), 0)
            plane.push("4", policy(4), node=NODE)
            await plane.acked("4")
            (key,) = (each for each in redis.ask("KEYS", "*") if "_two_" in each)
            equal(key.rpartition("_")[0], f"{LISTENER}_{ROUTE}_{ROUTE}_{RULE}_two")
            await read()
            await check_doctor(running)
            check_confined(running, ENVOY_GATEWAY)


async def read():
    """``egctl config envoy-ratelimit`` and Prometheus, at the ports that they use."""
    shown = f"{LISTENER}.{ROUTE}_{ROUTE}.{RULE}: unit=HOUR requests_per_unit=4, shadow_mode: false, quota_mode: false\n"
    equal(await page(6070, "/rlconfig", "127.0.0.1"), (200, shown))
    status, metrics = await page(19001, "/metrics")
    labels = f'{{domain="{LISTENER}",key1="{ROUTE}_{ROUTE}",key2="{RULE}"}}'
    over = [line for line in metrics.splitlines() if line.startswith("ratelimit_service_rate_limit_over_limit")]
    equal((status, over), (200, [f"ratelimit_service_rate_limit_over_limit{labels} 2"]))
    kinds = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE ratelimit_")}
    equal("ratelimit_service_response_time_seconds" in kinds, True, metrics)
    equal([name for name in kinds if "domain_not_found" in name], [])


async def probes(folder):
    """No probe fails for what is not the pod's: without a policy, without a control plane, and while Redis is away."""
    certs = certificates(folder)
    with redis_server(tcp=True, port=int(REDIS_PORT)) as redis:
        redis.kill()
        async with pod(folder, certs) as running:
            await until(lambda: probe(STARTUP), 500, lambda: running.text)
            redis.start()
            await until(lambda: probe(STARTUP), 200, lambda: running.text)
            async with controller(folder, certs) as (plane, _):
                plane.push("1", policy(2), node=NODE)
                await plane.acked("1")
            redis.kill()
            await until(redis_is_away, True, lambda: running.text)
            equal([await probe(each) for each in (READINESS, LIVENESS) * 3], [200] * 6)
            running.terminate()
            equal(await running.ended(), 0)


async def redis_is_away():
    """Whether the service says so."""
    return "\nredis: " in "\n" + (await get("127.0.0.1:8080", "/readyz"))[1]


async def asked(certs, count):
    """The codes of some calls of one user, over TLS and with a certificate, as Envoy asks."""
    own = certs["service"]
    pair = (own / "tls.key").read_bytes(), (own / "tls.crt").read_bytes()
    credentials = grpc.ssl_channel_credentials((own / "ca.crt").read_bytes(), *pair)
    name = (("grpc.ssl_target_name_override", SERVICE),)
    request = Request(domain=LISTENER)
    entries = request.descriptors.add().entries
    entries.add(key=ROUTE, value=ROUTE)
    entries.add(key=RULE, value="one")
    async with aio.secure_channel("127.0.0.1:8081", credentials, options=name) as channel:
        ask = channel.unary_unary(SHOULD_RATE_LIMIT)
        answers = [Response.FromString(await ask(request.SerializeToString(), timeout=30)) for _ in range(count)]
    return [Response.Code.Name(answer.overall_code) for answer in answers]


PAGE = ROOT / "docs/migrating/envoy-gateway.md"


async def overlaid(folder):
    """With the ConfigMap and the fields of the page, its rules have the algorithm and the burst of the overlay."""
    shown = [yaml.safe_load(block.text) for block in blocks(PAGE.read_text()) if block.language == "yaml"]
    (files,) = (each["data"] for each in shown if "data" in each)
    (fields,) = (each["rateLimitDeployment"] for each in shown if "rateLimitDeployment" in each)
    ((mount,), (variable,)) = fields["container"]["volumeMounts"], fields["container"]["env"]
    manifest = ENVOY_GATEWAY._replace(
        env={**ENVOY_GATEWAY.env, variable["name"]: variable["value"]},
        mounts=(*ENVOY_GATEWAY.mounts, mount["mountPath"]),
    )
    more = {mount["mountPath"]: volume(folder / "ratelimit-overlay", files)}
    certs = certificates(folder)
    with redis_server(tcp=True, port=int(REDIS_PORT)):
        async with controller(folder, certs) as (plane, _), pod(folder, certs, manifest, more) as running:
            plane.push("1", policy(2), node=NODE)
            await plane.acked("1")
            await until(lambda: probe(STARTUP), 200, lambda: running.text)
            equal(await asked(certs, 3), ["OK"] * 3)
            line = (await page(6070, "/rlconfig"))[1]
            missing = [each for each in ("token_bucket", "burst: 200", "on_store_failure: local") if each not in line]
            equal(missing, [], line)
            equal(told(running), [UNREAD])


@asynccontextmanager
async def limited(folder, manifest=ENVOY_GATEWAY, more=(), trusted=None):
    """A variant of the container that has its policy of two requests, and has let the kubelet in."""
    certs = certificates(folder)
    async with controller(folder, certs) as (plane, _):
        plane.push("1", policy(2), node=NODE)
        async with pod(folder, certs, manifest, more, trusted) as running:
            await until(lambda: probe(STARTUP), 200, lambda: running.text)
            await plane.acked("1")
            equal(await asked(certs, 3), ["OK", "OK", "OVER_LIMIT"])
            yield running


async def redis_tls(folder):
    """Redis over TLS with a client certificate: its own is verified by the authorities of the image."""
    files = tls_files(folder, REDIS_HOST)
    contents = {"tls.crt": files.client_certificate.read_bytes(), "tls.key": files.client_key.read_bytes()}
    more = {"/redis-certs": volume(folder / "redis-certs", contents)}
    with redis_server(tls=files, client_certificate=True, port=int(REDIS_PORT)):
        async with limited(folder, ENVOY_GATEWAY_REDIS_TLS, more, files.authority) as running:
            equal(told(running), [UNREAD])


async def traced(folder):
    """With tracing on, and a collector whose name does not resolve, it starts and calls are answered."""
    with redis_server(tcp=True, port=int(REDIS_PORT)):
        async with limited(folder, ENVOY_GATEWAY_TRACING) as running:
            check_confined(running, ENVOY_GATEWAY_TRACING)


async def beside_statsd(folder):
    """An older controller's container sends its metrics to the statsd_exporter of the pod."""
    with redis_server(tcp=True, port=int(REDIS_PORT)):
        async with statsd() as sent, limited(folder, ENVOY_GATEWAY_STATSD) as running:
            running.terminate()
            equal(await running.ended(), 0)
            wanted = f"ratelimit.service.rate_limit.{LISTENER}.{ROUTE}_{ROUTE}.{RULE}.over_limit:1|c"
            await until(lambda: sent.has(wanted), True, lambda: running.text)


SCENARIOS = (limits, overlaid, probes, redis_tls, traced, beside_statsd)
