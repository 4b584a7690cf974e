"""A real Envoy in front of a real upstream, for end-to-end tests."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

BINARY = Path(__file__).parents[1] / ".venv-envoy" / "bin" / "envoy"
START_SECONDS = 120.0


class Envoy:
    """A running Envoy; ``url`` is the URL of its listener."""

    def __init__(self, url: str, admin: str) -> None:
        self.url = url
        self._admin = admin

    async def stats(self, contains: str) -> dict[str, int]:
        async with aiohttp.ClientSession() as session, session.get(f"{self._admin}/stats?format=json") as answer:
            stats = (await answer.json())["stats"]
        return {each["name"]: each["value"] for each in stats if contains in each.get("name", "")}

    async def stat(self, ending: str) -> int:
        """Return the sum of the counters whose names have this suffix."""
        return sum(value for name, value in (await self.stats(ending)).items() if name.endswith(ending))


SET_METADATA = {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
    "metadata": [
        {
            "metadata_namespace": "ours",
            "value": {
                "limit": {"requests_per_unit": 2, "unit": "HOUR"},
                "long": {"requests_per_unit": 2, "unit": "MINUTE", "unit_multiplier": 10},
            },
        }
    ],
}
"""Sets two limits in the dynamic metadata of every request, for a rate limit's ``limit`` override."""


def cluster(name: str, addresses: list[str], *, http2: bool = False) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
        for host, _, port in (address.rpartition(":") for address in addresses)
    ]
    built: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }
    if http2:
        built["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return built


def bootstrap(
    rls: list[str],
    upstream: str,
    routes: list[dict[str, Any]],
    *,
    domain: str = "demo",
    filters: Sequence[dict[str, Any]] = (),
    timeout: str = "2s",
    **filter_options: Any,
) -> dict[str, Any]:
    """Return the configuration of an Envoy that calls the services at ``rls`` with the rate_limits of each route.

    ``filters`` are before that of rate limits, which has ``filter_options``; ``timeout`` is that of a call.
    """
    ratelimit = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
        "domain": domain,
        "timeout": timeout,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limit_service": {
            "grpc_service": {"envoy_grpc": {"cluster_name": "rls"}, "timeout": timeout},
            "transport_api_version": "V3",
        },
        **filter_options,
    }
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "envoy.filters.http.set_metadata", "typed_config": SET_METADATA},
            *filters,
            {"name": "envoy.filters.http.ratelimit", "typed_config": ratelimit},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [cluster("rls", rls, http2=True), cluster("upstream", [upstream])],
        },
    }


def route(prefix: str, *actions: list[dict[str, Any]], **rate_limit: Any) -> dict[str, Any]:
    """Return a route to the upstream with one rate limit for each list of actions."""
    return {
        "match": {"prefix": prefix},
        "route": {"cluster": "upstream", "rate_limits": [{"actions": list(each), **rate_limit} for each in actions]},
    }


def per_route(prefix: str, **rate_limit: Any) -> dict[str, Any]:
    """Return a route whose rate limit is in the per-route configuration of the filter, where Envoy reads all fields."""
    built = route(prefix)
    built["typed_per_filter_config"] = {
        "envoy.filters.http.ratelimit": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
            "rate_limits": [rate_limit],
        }
    }
    return built


def header(name: str, key: str) -> dict[str, Any]:
    return {"request_headers": {"header_name": name, "descriptor_key": key}}


def generic(key: str, value: str) -> dict[str, Any]:
    return {"generic_key": {"descriptor_key": key, "descriptor_value": value}}


@asynccontextmanager
async def envoy(config: dict[str, Any], folder: Path) -> AsyncIterator[Envoy]:
    """Run Envoy with a configuration, on ports that it chooses."""
    assert BINARY.exists(), f"{BINARY} is missing: `make test` installs it"
    file, admin_file, log = folder / "envoy.json", folder / "admin", folder / "envoy.log"
    file.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        str(BINARY),
        *("-c", str(file), "--admin-address-path", str(admin_file), "--log-path", str(log)),
        *("--use-dynamic-base-id", "--concurrency", "1", "--drain-time-s", "1", "--log-level", "warning"),
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            admin, listener = await _addresses(process, admin_file, log)
        yield Envoy(f"http://{listener}", f"http://{admin}")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _addresses(process: asyncio.subprocess.Process, admin_file: Path, log: Path) -> tuple[str, str]:
    """Poll Envoy until it listens; return the addresses of its admin port and of its listener."""
    async with aiohttp.ClientSession() as session:
        while True:
            assert process.returncode is None, f"Envoy ended: {log.read_text()}"
            try:
                admin = admin_file.read_text()
                async with session.get(f"http://{admin}/listeners?format=json") as answer:
                    listeners = (await answer.json())["listener_statuses"]
                async with session.get(f"http://{admin}/ready") as ready:
                    assert ready.status == 200
                address = listeners[0]["local_address"]["socket_address"]
                return admin, f"{address['address']}:{address['port_value']}"
            except (OSError, KeyError, IndexError, ValueError, AssertionError, aiohttp.ClientError):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """Run an HTTP server that answers 200 with the path; yields host:port."""
    from aiohttp import web

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text=request.path)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()
