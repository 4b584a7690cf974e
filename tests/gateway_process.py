"""A real ``ratelimitd proxy`` process for tests."""

from contextlib import asynccontextmanager

from tests.service import service


@asynccontextmanager
async def gateway(*arguments, env=None, ready=True, **options):
    """Run the proxy on a free port; ``running.proxy`` is host:port of its listener."""
    own = {"LISTEN_ADDR": "127.0.0.1:0", **(env or {})}
    async with service(*arguments, env=own, ready=False, command="proxy", **options) as running:
        if ready:
            running.proxy = (await running.logged("serving"))["proxy"]
        yield running
