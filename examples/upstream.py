#!/usr/bin/env python3
"""A sample upstream: it returns method and path of each request as JSON.

Its argument is the port: ``python examples/upstream.py 8081``.
"""

import asyncio
import sys

from aiohttp import web

EXPENSIVE_SECONDS = 0.03
"""Duration of a request to /api/expensive: long enough to notice, short enough to wait for."""


async def answer(request: web.Request) -> web.Response:
    """Return method and path; delay the expensive endpoint."""
    if request.path == "/api/expensive":
        await asyncio.sleep(EXPENSIVE_SECONDS)
    return web.json_response({"method": request.method, "path": request.path_qs})


def main(port: int) -> None:
    """Serve on all addresses of localhost until SIGINT or SIGTERM."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="localhost", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
