"""Other proxies in the comparison: those of --peer-proxy, and the Go gateway of bench/peers, where Go is installed."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.load import BUILD
from testkit.errors import BenchError

GATEWAY: Final = Path(__file__).with_name("peers") / "gateway"
GO: Final = "go gateway"

PEER_PROXY: Final = "NAME=COMMAND"
PLACES: Final = ("{listen}", "{port}", "{upstream}")
"""Placeholders of a command: the host:port where it has to listen, its port alone, the host:port of its upstream."""


class PeerProxy(NamedTuple):
    """A proxy and the command that starts it, in the foreground; its words have ``PLACES``."""

    name: str
    words: tuple[str, ...]

    def command(self, listen: str, upstream: str) -> list[str]:
        """Return the command for these addresses."""
        values = (listen, listen.rpartition(":")[2], upstream)
        words = list(self.words)
        for place, value in zip(PLACES, values, strict=True):
            words = [word.replace(place, value) for word in words]
        return words


def peer_proxy(text: str) -> PeerProxy:
    """Parse ``PEER_PROXY``; raises ValueError."""
    name, _, command = text.partition("=")
    words = tuple(shlex.split(command))
    listen, port, upstream = PLACES
    if not name or not words or not (listen in command or port in command) or upstream not in command:
        places = f"{listen} or {port}, and {upstream}"
        raise ValueError(f"'{text}' is not a proxy; write {PEER_PROXY}, with {places} in the command")
    return PeerProxy(name, words)


def go_gateway(key: str) -> tuple[Sequence[PeerProxy], Sequence[str]]:
    """Build the Go gateway, whose premium tier has the caller of ``key``; without Go a note takes its place.

    Raises BenchError if it does not compile.
    """
    if shutil.which("go") is None:
        return [], [f"{GO}: not measured, Go is not installed"]
    program = (BUILD / "bench-gateway").absolute()
    BUILD.mkdir(exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    said = subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=GATEWAY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if said.returncode:
        raise BenchError(f"{GATEWAY} does not compile:\n{said.stderr}")
    words = (str(program), "-listen", "{listen}", "-upstream", "{upstream}", "-premium", key)
    return [PeerProxy(GO, words)], []
