#!/usr/bin/env python3
"""The demo's servers: a stock Envoy, the rate-limit service, and a stand-in for a language model's API."""

import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from examples.demo.stage import RATELIMITD, Player, Ports, environment, envoy, playing

HERE = Path(__file__).parent
POLICY = HERE / "policy.yaml"
STABLE = HERE / "envoy.yaml"
AI = HERE / "envoy-ai.yaml"
"""The same with the filter for AI protocols, which is work in progress in Envoy 1.40."""

PACE = 400
"""Tokens per second of a stream, eight times those of a usual model: an answer takes a second or two."""


class Stage(NamedTuple):
    """The running servers, and the token of the service's admin API."""

    players: Sequence[Player]
    token: str


def bootstrap(file: Path, chosen: Ports) -> dict[str, Any]:
    """Return an Envoy configuration with these ports."""
    made: dict[str, Any] = yaml.safe_load(file.read_text())
    resources = made["static_resources"]
    _address(made["admin"])["port_value"] = chosen.admin
    _address(resources["listeners"][0])["port_value"] = chosen.envoy
    for cluster, port in zip(resources["clusters"], (chosen.grpc, chosen.upstream), strict=True):
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        _address(endpoint)["port_value"] = port
    return made


def _address(holder: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = holder["address"]["socket_address"]
    return found


@asynccontextmanager
async def stage(chosen: Ports, file: Path) -> AsyncIterator[Stage]:
    """Start all processes, and stop them at the end of the block."""
    token = secrets.token_hex()
    with tempfile.TemporaryDirectory(prefix="ratelimitd-llm-") as name:
        folder = Path(name)
        made = folder / "envoy.yaml"
        made.write_text(yaml.safe_dump(bootstrap(file, chosen)))
        commands = (
            [sys.executable, "examples/llm/upstream.py", str(chosen.upstream), "--pace", str(PACE)],
            [*RATELIMITD, "serve", "--config", str(POLICY)],
            envoy(made),
        )
        async with playing(commands, folder, {**environment(chosen), "ADMIN_TOKEN": token}) as players:
            yield Stage(players, token)
