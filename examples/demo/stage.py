#!/usr/bin/env python3
"""The demo's servers: a real Envoy, the rate-limit service, and a sample upstream."""

import asyncio
import os
import shlex
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from examples.together import EndedError, running, until_ended

HERE = Path(__file__).parent
ENVOY = Path(".venv-envoy/bin/envoy")
RATELIMITD = (sys.executable, "-m", "ratelimitd")

PATIENCE = "250ms"
"""Envoy's timeout for the service, instead of its default of 20 ms: all processes may share a core or two."""

TAIL = 2_000
"""Characters of the log to show when a process exits early; its last lines contain the reason."""


class Ports(NamedTuple):
    """Ports of the processes, on the loopback address."""

    envoy: int
    admin: int
    upstream: int
    grpc: int
    http: int
    debug: int


class Player(NamedTuple):
    """A process of the demo and its log file."""

    command: list[str]
    process: asyncio.subprocess.Process
    log: Path

    async def until_ended(self) -> None:
        """Wait until the process exits, then raise EndedError with the end of its log."""
        try:
            await until_ended(self.command, self.process)
        except EndedError as error:
            raise EndedError(f"{error}\n{self.log.read_text(errors='replace')[-TAIL:]}") from None


def ports(envoy: int) -> Ports:
    """Return free ports; ``envoy`` is used as Envoy's port unless it is 0."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in Ports._fields]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        free = Ports(*(probe.getsockname()[1] for probe in probes))
    return free._replace(envoy=envoy) if envoy else free


@asynccontextmanager
async def stage(chosen: Ports) -> AsyncIterator[Sequence[Player]]:
    """Start all processes, and stop them at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="ratelimitd-demo-") as name:
        folder = Path(name)
        gateway = folder / "gateway.yaml"
        gateway.write_text(_gateway(chosen))
        commands = (
            [sys.executable, "examples/upstream.py", str(chosen.upstream)],
            [*RATELIMITD, "serve", "--config", str(gateway)],
            envoy(await _bootstrap(gateway, chosen)),
        )
        async with playing(commands, folder, environment(chosen)) as players:
            yield players


def envoy(bootstrap: Path) -> list[str]:
    """Return the command that runs Envoy with a configuration."""
    return [str(ENVOY), "-c", str(bootstrap), "--disable-hot-restart", "-l", "warning"]


@asynccontextmanager
async def playing(
    commands: Sequence[list[str]], folder: Path, env: Mapping[str, str]
) -> AsyncIterator[Sequence[Player]]:
    """Run commands, with their logs in a folder, and stop them at the end of the block."""
    async with AsyncExitStack() as stack:
        players = []
        for number, command in enumerate(commands):
            log = folder / f"{number}.log"
            output = stack.enter_context(log.open("wb"))
            process = await stack.enter_async_context(running(command, output, env))
            players.append(Player(command, process, log))
        yield players


def _gateway(chosen: Ports) -> str:
    """Return the gateway file with these ports."""
    gateway = yaml.safe_load((HERE / "gateway.yaml").read_text())
    gateway["listen"] = f"127.0.0.1:{chosen.envoy}"
    gateway["upstreams"]["app"]["url"] = f"http://localhost:{chosen.upstream}"
    return yaml.safe_dump(gateway)


async def _bootstrap(gateway: Path, chosen: Ports) -> Path:
    """Generate Envoy's configuration from the gateway file."""
    made = gateway.with_name("envoy.yaml")
    command = [*RATELIMITD, "envoy", str(gateway), "-o", str(made), "--timeout", PATIENCE]
    command += ["--rls", f"127.0.0.1:{chosen.grpc}", "--admin", str(chosen.admin)]
    making = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await making.communicate()
    if making.returncode:
        raise EndedError(f"`{shlex.join(command)}` failed:\n{said.decode()}")
    return made


def environment(chosen: Ports) -> dict[str, str]:
    """Return the service's environment. The user's REDIS_URL is not passed, so counters are in memory."""
    where = {f"{part}HOST": "127.0.0.1" for part in ("", "GRPC_", "DEBUG_")}
    where |= {"PORT": str(chosen.http), "GRPC_PORT": str(chosen.grpc), "DEBUG_PORT": str(chosen.debug)}
    return {"PATH": os.environ["PATH"], "DRAIN_DELAY": "0", "LOG_FORMAT": "text", **where}
