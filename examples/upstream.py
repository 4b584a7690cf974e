#!/usr/bin/env python3
"""A sample application to put behind the gateway: it says in JSON what it was asked.

Run it with the port as its argument: ``python examples/upstream.py 8081``.
"""

import asyncio
import sys

from aiohttp import web

EXPENSIVE_SECONDS = 0.03
"""What /api/expensive takes: enough to see, and short enough to wait for."""


async def answer(request: web.Request) -> web.Response:
    """Return method and path, the expensive ones later."""
    if request.path == "/api/expensive":
        await asyncio.sleep(EXPENSIVE_SECONDS)
    return web.json_response({"method": request.method, "path": request.path_qs})


def main(port: int) -> None:
    """Serve on both addresses of localhost until SIGINT or SIGTERM."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="localhost", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
