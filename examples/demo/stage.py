#!/usr/bin/env python3
"""What the demo's client talks to: a real Envoy, the service it asks, and a sample upstream."""

import asyncio
import os
import shlex
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from examples.together import EndedError, running, until_ended

HERE = Path(__file__).parent
ENVOY = Path(".venv-envoy/bin/envoy")
RATELIMITD = (sys.executable, "-m", "ratelimitd")

PATIENCE = "250ms"
"""That Envoy waits for the service, instead of its 20 ms: here all of it may share a core or two."""

TAIL = 2_000
"""Characters of a log that are shown when its process ends early; the last lines say why."""


class Ports(NamedTuple):
    """Who listens where, on the loopback address."""

    envoy: int
    admin: int
    upstream: int
    grpc: int
    http: int
    debug: int


class Player(NamedTuple):
    """One of the processes, and the file of its log."""

    command: list[str]
    process: asyncio.subprocess.Process
    log: Path

    async def until_ended(self) -> None:
        """Wait for its end, which is an EndedError with the end of its log."""
        try:
            await until_ended(self.command, self.process)
        except EndedError as error:
            raise EndedError(f"{error}\n{self.log.read_text(errors='replace')[-TAIL:]}") from None


def ports(envoy: int) -> Ports:
    """Choose free ports; for Envoy's listener only if it is 0."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in Ports._fields]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        free = Ports(*(probe.getsockname()[1] for probe in probes))
    return free._replace(envoy=envoy) if envoy else free


@asynccontextmanager
async def stage(chosen: Ports) -> AsyncIterator[Sequence[Player]]:
    """Start all of it, and end it with the block."""
    with tempfile.TemporaryDirectory(prefix="ratelimitd-demo-") as name:
        folder = Path(name)
        gateway = folder / "gateway.yaml"
        gateway.write_text(_gateway(chosen))
        commands = (
            [sys.executable, "examples/upstream.py", str(chosen.upstream)],
            [*RATELIMITD, "serve", "--config", str(gateway)],
            [str(ENVOY), "-c", str(await _bootstrap(gateway, chosen)), "--disable-hot-restart", "-l", "warning"],
        )
        async with AsyncExitStack() as stack:
            players = []
            for number, command in enumerate(commands):
                log = folder / f"{number}.log"
                output = stack.enter_context(log.open("wb"))
                process = await stack.enter_async_context(running(command, output, _environment(chosen)))
                players.append(Player(command, process, log))
            yield players


def _gateway(chosen: Ports) -> str:
    """Return the gateway file with these ports."""
    gateway = yaml.safe_load((HERE / "gateway.yaml").read_text())
    gateway["listen"] = f"127.0.0.1:{chosen.envoy}"
    gateway["upstreams"]["app"]["url"] = f"http://localhost:{chosen.upstream}"
    return yaml.safe_dump(gateway)


async def _bootstrap(gateway: Path, chosen: Ports) -> Path:
    """Have Envoy's configuration made of the gateway file."""
    made = gateway.with_name("envoy.yaml")
    command = [*RATELIMITD, "envoy", str(gateway), "-o", str(made), "--timeout", PATIENCE]
    command += ["--rls", f"127.0.0.1:{chosen.grpc}", "--admin", str(chosen.admin)]
    making = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await making.communicate()
    if making.returncode:
        raise EndedError(f"`{shlex.join(command)}` made no configuration:\n{said.decode()}")
    return made


def _environment(chosen: Ports) -> dict[str, str]:
    """Return what the service is told; counters are in memory whatever the caller's REDIS_URL says."""
    where = {f"{part}HOST": "127.0.0.1" for part in ("", "GRPC_", "DEBUG_")}
    where |= {"PORT": str(chosen.http), "GRPC_PORT": str(chosen.grpc), "DEBUG_PORT": str(chosen.debug)}
    return {"PATH": os.environ["PATH"], "DRAIN_DELAY": "0", "LOG_FORMAT": "text", **where}
