"""A real gateway process between two ends that tests hold by hand, with one limit or some."""

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager

from testkit.redis_server import redis_server
from tests.gateway_process import gateway
from tests.http1.rig import PATIENCE, End, ScriptedUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NEVER = 0.05
"""Seconds in which nothing comes: what must not come would, in most runs."""


def file_of(port, *limits, actions=("one",), more=""):
    """A gateway file: each limit is a descriptor with the value of the header ``x-NAME``."""
    descriptors = [
        f"    - {{key: {name}, rate_limit: {{{limit}}}}}" for name, limit in zip(actions, limits, strict=True)
    ]
    sent = [
        f"{{actions: [{{request_headers: {{header_name: x-{name}, descriptor_key: {name}}}}}]}}" for name in actions
    ]
    return "\n".join(
        [
            'listen: "127.0.0.1:1"',
            f'upstreams: {{app: {{url: "http://127.0.0.1:{port}"}}}}',
            f"routes: [{{upstream: app, rate_limits: [{', '.join(sent)}]}}]",
            "admin: {port: 0}",
            more,
            "policies:",
            "  domain: d",
            "  descriptors:",
            *descriptors,
        ]
    )


class Between:
    """The running gateway and the upstream behind it."""

    def __init__(self, running, upstream, path):
        self.running = running
        self.upstream = upstream
        self.path = path
        self._ends = []

    async def client(self, source="127.0.0.1", to=None):
        host, _, port = (to or self.running.proxy).rpartition(":")
        end = End(*await asyncio.open_connection(host, int(port), limit=1 << 20, local_addr=(source, 0)))
        self._ends.append(end)
        return end

    async def ask(self, path="/", method="GET", one="a", more=b"", source="127.0.0.1", **headers):
        """Send a request on a connection of its own, from an address of this host."""
        end = await self.client(source)
        lines = "".join(f"x-{name}: {value}\r\n" for name, value in {"one": one, **headers}.items() if value)
        await end.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{lines}".encode() + (more or b"\r\n"))
        return end

    async def status(self, end):
        head, _ = await end.answer()
        return int(head.split()[1])

    async def arrived(self):
        """The next request that reached the upstream: its connection and head. They are not reused."""
        end = await self.upstream.accept()
        return end, await end.until()

    async def answered(self, end=None):
        """Answer the request at the upstream, the next one by default; return its path."""
        if end is None:
            end, head = await self.arrived()
        else:
            head = b"GET - "
        await end.send(OK.replace(b"Content", b"Connection: close\r\nContent"))
        end.close()
        return head.split()[1].decode()

    async def served(self, **headers):
        """Whether a request is forwarded now; if so it is answered and read."""
        end = await self.ask(**headers)
        first, second = asyncio.ensure_future(end.answer()), asyncio.ensure_future(self.upstream.accept())
        done, _ = await asyncio.wait((first, second), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if second in done:
            at = second.result()
            await at.until()
            await self.answered(at)
            await first
        else:
            first.result()
            second.cancel()
        end.close()
        return second in done

    async def metric(self, name):
        """The sum of a metric's series that have this beginning; the page of the proxy's own port may be older."""
        end = await self.client(to=(await self.running.logged("serving"))["admin"])
        await end.send(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        lines = (await end.rest()).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    async def until_metric(self, name, value):
        async with asyncio.timeout(PATIENCE):
            while await self.metric(name) != value:
                await asyncio.sleep(0.01)

    async def reload(self, text):
        """Write another file, and wait until it is in force."""
        after = len(self.running.log)
        self.path.write_text(text)
        await self.running.logged("policy loaded", after)

    def logged(self):
        """The lines of the access log."""
        return [json.loads(line) for line in self.running.output.splitlines() if line]

    @asynccontextmanager
    async def beside(self):
        """Another gateway process with the same file and Redis."""
        async with gateway("--config", str(self.path), env=redis_env(self.redis)) as running:
            found = Between(running, self.upstream, self.path)
            try:
                yield found
            finally:
                await found.close()

    async def close(self):
        for end in self._ends:
            end.close()


def redis_env(server):
    return {"REDIS_URL": server.address, "REDIS_SOCKET_TYPE": server.socket_type}


@asynccontextmanager
async def between(folder, *limits, store="memory", actions=("one",), more="", env=None):
    """Run the gateway with these limits, in memory or over a Redis of its own."""
    with contextlib.ExitStack() as stack:
        own = dict(env or {})
        redis = None
        if store == "redis":
            redis = stack.enter_context(redis_server())
            own |= redis_env(redis)
        upstream = await ScriptedUpstream().start()
        path = folder / "gateway.yaml"
        path.write_text(file_of(upstream.port, *limits, actions=actions, more=more))
        async with gateway("--config", str(path), env=own) as running:
            found = Between(running, upstream, path)
            found.redis = redis
            try:
                yield found
            finally:
                await found.close()
                await upstream.stop()
