#!/usr/bin/env python3
"""``python -m examples.llm``: budgets of a language model's tenants, with a real Envoy."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import click
from rich.console import Console, RenderableType
from rich.live import Live

from examples.demo.stage import ENVOY, Ports, ports
from examples.llm.budgets import Budgets
from examples.llm.stage import AI, STABLE, Stage, stage
from examples.llm.traffic import COMPLETIONS, TENANTS, Tally, Traffic, body
from examples.llm.view import screen
from examples.together import EndedError, first, until_signal

READY_SECONDS = 60.0
"""Maximum startup time of Envoy and the service; on a busy machine it is about ten seconds."""

FRAME = 0.5
"""Seconds between two looks at the budgets."""

WIDTH = 100
"""Columns of the last frame, where it is not written to a terminal."""

About = Sequence[tuple[str, str]]


class Options(NamedTuple):
    """How long, with which filters, and whether the screen is refreshed in place."""

    seconds: int | None
    file: Path
    view: bool


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=10000, show_default=True, help="Port of Envoy; 0 selects a free port.")
@click.option("--seconds", type=int, help="Stop after this many seconds. [default: run until Ctrl-C]")
@click.option(
    "--ai-filter", is_flag=True, help="Use Envoy's filter for AI protocols, which is work in progress in 1.40."
)
@click.option(
    "--view/--no-view", default=None, help="Refresh the screen, or print the last one. [default: refresh on a terminal]"
)
def main(port: int, seconds: int | None, ai_filter: bool, view: bool | None) -> None:
    """Run Envoy, the service, a stand-in for a language model, and the callers of four tenants."""
    if not ENVOY.exists():
        sys.exit(f"{ENVOY} is missing; `make demo-llm` installs it")
    try:
        view = Console().is_terminal if view is None else view
        asyncio.run(_demo(ports(port), Options(seconds, AI if ai_filter else STABLE, view)))
    except (EndedError, TimeoutError) as error:
        sys.exit(str(error))


async def _demo(chosen: Ports, options: Options) -> None:
    stopping = asyncio.create_task(until_signal())
    async with stage(chosen, options.file) as made:
        playing = asyncio.create_task(_play(chosen, options, made))
        await first(stopping, playing, *(asyncio.create_task(player.until_ended()) for player in made.players))


async def _play(chosen: Ports, options: Options, made: Stage) -> None:
    url = f"http://127.0.0.1:{chosen.envoy}"
    await _ready(url)
    traffic = Traffic(url)
    budgets = Budgets(f"http://127.0.0.1:{chosen.debug}", made.token, TENANTS)
    sending = asyncio.create_task(traffic.run())
    watching = asyncio.create_task(_watch(traffic.tallies, budgets, about(chosen, options.file), options))
    try:
        await first(sending, watching)
    finally:
        sending.cancel()
        watching.cancel()
        await asyncio.gather(sending, watching, return_exceptions=True)


def about(chosen: Ports, file: Path) -> About:
    """Return what the screen says of the servers."""
    return [
        ("try", f"curl -i localhost:{chosen.envoy}{COMPLETIONS} -H x-tenant:acme -d {{}}"),
        ("Envoy", f"examples/llm/{file.name}"),
        ("budgets", "examples/llm/policy.yaml"),
        ("service", f"http://localhost:{chosen.http}/metrics"),
    ]


async def _ready(url: str) -> None:
    """Wait for an answer, so that Envoy, service and model all work. Raises TimeoutError."""
    until = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            try:
                headers = {"X-Tenant": TENANTS[0].name}
                async with session.post(url + COMPLETIONS, json=body(stream=False), headers=headers) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError(f"no response from {url} after {READY_SECONDS:g} s")


async def _watch(tallies: Sequence[Tally], budgets: Budgets, about: About, options: Options) -> None:
    """Look at the budgets, and show them."""
    began = time.monotonic()
    async with aiohttp.ClientSession() as session:
        with _shown(view=options.view) as show:
            while options.seconds is None or time.monotonic() < began + options.seconds:
                await asyncio.sleep(FRAME)
                show(screen(tallies, await budgets.read(session), about, int(time.monotonic() - began)))


@contextmanager
def _shown(*, view: bool) -> Iterator[Callable[[RenderableType], None]]:
    """Yield the function that shows a screen: in place of the one before, or the last one at the end."""
    if view:
        with Live(auto_refresh=False) as live:
            yield lambda made: live.update(made, refresh=True)
        return
    print("the callers have begun", flush=True)
    last: list[RenderableType] = []
    try:
        yield lambda made: last.__setitem__(slice(None), [made])
    finally:
        for made in last:
            Console(width=WIDTH).print(made)


if __name__ == "__main__":
    main(prog_name="python -m examples.llm")
