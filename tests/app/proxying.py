"""The gateway of a file on real sockets, inside the test's own process."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

from ratelimitd.algorithms import SECOND
from ratelimitd.app.gateway_files import GatewayFiles, read
from ratelimitd.gateway import Proxy, render
from ratelimitd.http1 import Server, Sweeper
from ratelimitd.limiter import Engine, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import assemble
from ratelimitd.policy_file import examine
from ratelimitd.sources import GATEWAY_ALGORITHM, GatewayFile, read_files, tiers_beside
from ratelimitd.stores.memory import MemoryStore
from tests.http1.rig import End, ScriptedUpstream


class Front:
    """The listener of a gateway; ``handled`` is what it reports of its requests, in the order of their ends.

    ``reload`` replaces keys of its file, and activates it; ``files`` has what is active; ``queueing`` what waits.
    """

    def __init__(self, port, handled, reload, files, queueing):
        self.port = port
        self.handled = handled
        self.reload = reload
        self.files = files
        self.queueing = queueing
        self._ends = []

    async def client(self):
        end = End(*await asyncio.open_connection("127.0.0.1", self.port))
        self._ends.append(end)
        return end

    async def ask(self, request):
        """Send one request on a connection of its own; returns the status and the answer."""
        head, body = await (await self.client()).ask(request)
        return int(head.split()[1]), head + body

    def close(self):
        for end in self._ends:
            end.close()


@asynccontextmanager
async def proxying(folder, **file):
    """Serve the gateway of these keys; the clock of its limits is the machine's."""
    path = folder / "gateway.yaml"
    file = {"routes": [{}], "policies": {"domain": "d"}, **file}
    path.write_text(json.dumps(file))
    source = GatewayFile(str(path))
    parsed = examine(read_files(source), default_algorithm=GATEWAY_ALGORITHM, beside=tiers_beside(source))
    assert parsed.errors == []
    policy = assemble(parsed.rows)
    engine = Engine(MemoryStore(1 << 20), Counters())
    engine.planner = Planner(policy, key_maker(b"", safe=True), Tallies(), PlanOptions())
    made, handled, sweeper = await read(str(path)), [], Sweeper(0.01)
    proxy = Proxy(engine, SECOND, asyncio.get_running_loop().time, handled.append)
    server = Server(proxy.handle, made.limits, sweeper, render=render)
    files = GatewayFiles(made, proxy, server, sweeper)
    (await files.prepare())(policy)()
    sock = socket.create_server(("127.0.0.1", 0))

    async def reload(**changed):
        path.write_text(json.dumps({**file, **changed}))
        (await files.prepare())(policy)()

    front = Front(sock.getsockname()[1], handled, reload, files, proxy.queueing)
    await server.start(sock)
    try:
        yield front
    finally:
        front.close()
        await server.stop(0)
        await files.close()
        sweeper.close()


@asynccontextmanager
async def application(name="app"):
    """An upstream that answers each request with its own name and the request's head; yields its URL."""
    scripted = ScriptedUpstream()

    async def answer(reader, writer):
        try:
            while True:
                body = name.encode() + b" " + await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    scripted.serve(answer)
    await scripted.start()
    try:
        yield f"http://127.0.0.1:{scripted.port}"
    finally:
        await scripted.stop()
