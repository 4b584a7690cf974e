#!/usr/bin/env python3
"""``python -m examples.demo``: rate limiting by tier, live, with a real Envoy."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import aiohttp
import click
from rich.console import Console
from rich.live import Live

from examples.demo.stage import ENVOY, Ports, ports, stage
from examples.demo.traffic import Tally, Traffic
from examples.demo.view import line, screen
from examples.together import EndedError, first, until_signal

READY_SECONDS = 60.0
"""For Envoy and the service to start; a busy machine takes some ten seconds."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=8080, show_default=True, help="Of Envoy; 0: a free one.")
@click.option("--seconds", type=int, help="End after so many; without it, Ctrl-C does.")
@click.option("--view/--no-view", default=None, help="Bars, or a line a second. [default: bars on a terminal]")
def main(port: int, seconds: int | None, view: bool | None) -> None:  # noqa: FBT001 - click hands flags over so
    """Run Envoy, the service, an upstream and clients of three tiers."""
    if not ENVOY.exists():
        sys.exit(f"{ENVOY} is missing: `make demo` installs it")
    try:
        asyncio.run(_demo(ports(port), seconds, view=Console().is_terminal if view is None else view))
    except (EndedError, TimeoutError) as error:
        sys.exit(str(error))


async def _demo(chosen: Ports, seconds: int | None, *, view: bool) -> None:
    stopping = asyncio.create_task(until_signal())
    async with stage(chosen) as players:
        playing = asyncio.create_task(_play(chosen, seconds, view=view))
        await first(stopping, playing, *(asyncio.create_task(player.until_ended()) for player in players))


async def _play(chosen: Ports, seconds: int | None, *, view: bool) -> None:
    url = f"http://127.0.0.1:{chosen.envoy}/"
    await _ready(url)
    traffic = Traffic(url)
    about = [
        ("try", f"curl -i {url} -H 'X-API-Key: demo-premium'"),
        ("Envoy's pages", f"http://127.0.0.1:{chosen.admin}"),
        ("the service", f"http://127.0.0.1:{chosen.http}/metrics, gRPC at 127.0.0.1:{chosen.grpc}"),
    ]
    sending = asyncio.create_task(traffic.run())
    watching = asyncio.create_task(_watch(traffic.tallies, about, seconds, view=view))
    try:
        await first(sending, watching)
    finally:
        sending.cancel()
        watching.cancel()
        await asyncio.gather(sending, watching, return_exceptions=True)


async def _ready(url: str) -> None:
    """Wait until an answer says what is left, so Envoy, service and upstream are all there; raises TimeoutError."""
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
    raise TimeoutError(f"nothing answers at {url} after {READY_SECONDS:g} s")


async def _watch(
    tallies: Sequence[Tally], about: Sequence[tuple[str, str]], seconds: int | None, *, view: bool
) -> None:
    """Show each second as it ends."""
    second, began = 0, time.monotonic()
    with _shown(tallies, about, view=view) as show:
        while seconds is None or second < seconds:
            second += 1
            await asyncio.sleep(began + second - time.monotonic())
            for tally in tallies:
                tally.tick()
            show(second)


@contextmanager
def _shown(
    tallies: Sequence[Tally], about: Sequence[tuple[str, str]], *, view: bool
) -> Iterator[Callable[[int], None]]:
    """Yield what shows a second."""
    if not view:
        yield lambda second: print(line(tallies, second), flush=True)
        return
    with Live(screen(tallies, about, 0), auto_refresh=False) as live:
        yield lambda second: live.update(screen(tallies, about, second), refresh=True)


if __name__ == "__main__":
    main(prog_name="python -m examples.demo")
