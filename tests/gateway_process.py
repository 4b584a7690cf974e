"""A real ``ratelimitd proxy`` process for tests, a file for it, and an application behind it."""

from contextlib import asynccontextmanager

from aiohttp import web

from tests.service import service


@asynccontextmanager
async def gateway(*arguments, env=None, ready=True, **options):
    """Run the proxy on a free port; ``running.proxy`` is host:port of its listener."""
    own = {"LISTEN_ADDR": "127.0.0.1:0", **(env or {})}
    async with service(*arguments, env=own, ready=False, command="proxy", **options) as running:
        if ready:
            running.proxy = (await running.logged("serving"))["proxy"]
        yield running


@asynccontextmanager
async def upstream():
    """An application that answers with what it was asked; counts its requests."""
    seen = []

    async def answer(request):
        seen.append(request)
        return web.json_response({"path": request.raw_path, "headers": dict(request.headers)})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2]), seen
    finally:
        await runner.cleanup()


async def statuses(client, count, path="/", **headers):
    found = []
    for _ in range(count):
        async with client.get(path, headers=headers) as answer:
            found.append(answer.status)
    return found


FILE = """
listen: "127.0.0.1:1"
upstreams: {{app: {{url: "{url}"}}}}
routes:
  - match: {{prefix: /api/}}
    upstream: app
    rate_limits: [{{actions: [{{generic_key: {{descriptor_key: all, descriptor_value: api}}}}]}}]
policies:
  domain: d
  descriptors:
    - {{key: all, value: api, rate_limit: {{unit: hour, requests_per_unit: {limit}}}, on_store_failure: {policy}}}
"""
