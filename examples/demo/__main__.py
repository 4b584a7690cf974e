#!/usr/bin/env python3
"""``python -m examples.demo``: a live demo of rate limiting by tier, with a real Envoy."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import click
from rich.console import Console
from rich.live import Live

from examples.demo.picture import picture, shot
from examples.demo.stage import ENVOY, Ports, ports, stage
from examples.demo.traffic import Tally, Traffic
from examples.demo.view import line, screen
from examples.together import EndedError, first, until_signal

READY_SECONDS = 60.0
"""Maximum startup time of Envoy and the service; on a busy machine it is about ten seconds."""

PICTURE_SECONDS = 24
"""Length of the picture: a wave of the slowest tier, so that each is seen below and above its limit."""


class Options(NamedTuple):
    """How long, and how the counts are shown."""

    seconds: int | None
    view: bool
    file: Path | None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=8080, show_default=True, help="Port of Envoy; 0 selects a free port.")
@click.option("--seconds", type=int, help="Stop after this many seconds. [default: run until Ctrl-C]")
@click.option(
    "--view/--no-view", default=None, help="Show bars, or print one line per second. [default: bars on a terminal]"
)
@click.option(
    "--picture", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg",
    help=f"Record {PICTURE_SECONDS} seconds, or --seconds, as a moving picture.",
)  # fmt: skip
def main(port: int, seconds: int | None, view: bool | None, file: Path | None) -> None:
    """Run Envoy, the service, an upstream, and clients of three tiers."""
    if not ENVOY.exists():
        sys.exit(f"{ENVOY} is missing; `make demo` installs it")
    try:
        view = Console().is_terminal if view is None else view
        options = Options(seconds or (PICTURE_SECONDS if file else None), view, file)
        asyncio.run(_demo(ports(port), options))
    except (EndedError, TimeoutError) as error:
        sys.exit(str(error))


async def _demo(chosen: Ports, options: Options) -> None:
    stopping = asyncio.create_task(until_signal())
    async with stage(chosen) as players:
        playing = asyncio.create_task(_play(chosen, options))
        await first(stopping, playing, *(asyncio.create_task(player.until_ended()) for player in players))


async def _play(chosen: Ports, options: Options) -> None:
    url = f"http://127.0.0.1:{chosen.envoy}/"
    await _ready(url)
    traffic = Traffic(url)
    about = [
        ("try", f"curl -i {url} -H 'X-API-Key: demo-premium'"),
        ("Envoy's admin", f"http://127.0.0.1:{chosen.admin}"),
        ("its limits", "examples/demo/gateway.yaml"),
        ("the service", f"http://127.0.0.1:{chosen.http}/metrics, gRPC at 127.0.0.1:{chosen.grpc}"),
    ]
    sending = asyncio.create_task(traffic.run())
    watching = asyncio.create_task(_watch(traffic.tallies, about, options))
    try:
        await first(sending, watching)
    finally:
        sending.cancel()
        watching.cancel()
        await asyncio.gather(sending, watching, return_exceptions=True)


async def _ready(url: str) -> None:
    """Wait for a response with limit headers, so that Envoy, service and upstream all work. Raises TimeoutError."""
    until = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            try:
                async with session.get(url) as answer:
                    if answer.status in {200, 429} and "x-ratelimit-limit" in answer.headers:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError(f"no response from {url} after {READY_SECONDS:g} s")


async def _watch(tallies: Sequence[Tally], about: Sequence[tuple[str, str]], options: Options) -> None:
    """Show the counts of each second."""
    second, began = 0, time.monotonic()
    screens = []
    with _shown(tallies, about, view=options.view) as show:
        while options.seconds is None or second < options.seconds:
            second += 1
            await asyncio.sleep(began + second - time.monotonic())
            for tally in tallies:
                tally.tick()
            show(second)
            if options.file:
                screens.append(shot(screen(tallies, about, second)))
    if options.file:
        options.file.write_text(picture(screens))


@contextmanager
def _shown(
    tallies: Sequence[Tally], about: Sequence[tuple[str, str]], *, view: bool
) -> Iterator[Callable[[int], None]]:
    """Yield the function that shows the counts of a second."""
    if not view:
        yield lambda second: print(line(tallies, second), flush=True)
        return
    with Live(screen(tallies, about, 0), auto_refresh=False) as live:
        yield lambda second: live.update(screen(tallies, about, second), refresh=True)


if __name__ == "__main__":
    main(prog_name="python -m examples.demo")
