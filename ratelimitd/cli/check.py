"""``ratelimitd check``."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from ratelimitd.config.values import UINT32_MAX, host_port, positive_duration
from ratelimitd.descriptor_text import Entries, encode
from ratelimitd.descriptor_text import parse as parse_descriptor
from ratelimitd.printable import printable

from .check_options import read_tls, repeat, tls_options, watch_options
from .explain import explain
from .flags import ERROR, HITS_HELP, OK, OVER_LIMIT, Text, examples

COLORS: Final = {"OK": "green", "OVER_LIMIT": "red", "error": "red"}

TIMEOUT: Final = "5s"
"""Default timeout: long enough for a service on another continent, short enough for an interactive command."""


@click.command(
    epilog=examples(
        "ratelimitd check -d shop user=alice",
        "ratelimitd check -d shop tenant=acme,path=/checkout user=alice --hits 5",
        "ratelimitd check -d shop user=alice --address ratelimitd:8081 --json",
        "ratelimitd check -d shop user=alice --watch",
        "ratelimitd check -d shop user=alice --cacert ca.pem --cert client.pem --key client.key",
        "ratelimitd check -d shop tenant=acme,path=/checkout --explain --config policies/",
        r"ratelimitd check -d shop 'path=/a\,b'    # in a value, write \, for a comma and \\ for a backslash",
    )
)
@click.option("-d", "--domain", required=True, type=Text("domain", encode), help="Domain of the descriptors.")
@click.argument(
    "descriptors",
    nargs=-1,
    required=True,
    type=Text("descriptor", parse_descriptor),
    metavar="KEY=VALUE[,KEY=VALUE]...",
)
@click.option("--hits", type=click.IntRange(0, UINT32_MAX), help=HITS_HELP)
@click.option(
    "--address", default="localhost:8081", show_default=True, metavar="HOST:PORT", help="gRPC address of the service."
)
@click.option(
    "--timeout",
    type=Text("duration", positive_duration),
    default=TIMEOUT,
    show_default=True,
    help="How long to wait for the response.",
)
@tls_options
@watch_options
@click.option("--json", "as_json", is_flag=True, help="Print the response as protobuf's JSON.")
@click.option(
    "--explain",
    is_flag=True,
    help="Charge nothing, and show how each descriptor is matched: by the files of --config, else by the admin API of "
    "the service (with its ADMIN_TOKEN or ADMIN_TOKEN_FILE). Exits 1 if no limit applies to a descriptor.",
)
@click.option(
    "--config", multiple=True, type=click.Path(path_type=Path), metavar="PATH", help="With --explain: policy."
)
@click.option(
    "--overlay", type=click.Path(path_type=Path), metavar="PATH", help="With --config: overlay that is applied to it."
)
@click.option(
    "--admin",
    type=Text("address", host_port),
    default="localhost:6070",
    show_default=True,
    metavar="HOST:PORT",
    help="With --explain: debug port.",
)
def check(
    domain: bytes,
    descriptors: tuple[Entries, ...],
    hits: int | None,
    address: str,
    timeout: float,
    as_json: bool,
    **more: Any,
) -> None:
    """Send one request to a running service. Exits 0 for OK, 1 for OVER_LIMIT, 2 for an error.

    Each argument is one descriptor.
    """
    explaining = {name: more.pop(name) for name in ("config", "overlay", "admin")}
    if explaining["overlay"] and not explaining["config"]:
        raise click.UsageError("--overlay belongs to --config; the service applies its own")
    if more.pop("explain"):
        explain(domain, descriptors, timeout, as_json=as_json, **explaining)
    if explaining["config"]:
        raise click.UsageError("--config belongs to --explain; a check asks the service at --address")
    from ratelimitd import client  # noqa: PLC0415 -- grpcio, which takes most of a second to import

    watch, interval = more.pop("watch"), more.pop("interval")
    asked = partial(client.check, address, domain, descriptors, timeout=timeout, tls=read_tls(**more))
    if watch:
        peek = partial(asked, hits=hits or 0)
        repeat(lambda: _line(peek, descriptors, as_json=as_json), interval)
        sys.exit(OK)
    try:
        response = asked(hits=hits)
    except client.CheckError as error:
        click.echo(f"ratelimitd: {printable(str(error))}", err=True)
        sys.exit(ERROR)
    overall = client.overall(response)
    if as_json:
        click.echo(client.as_json(response))
    else:
        for code, sentence in client.lines(response, descriptors):
            click.echo(f"{_colored(code)} {printable(sentence)}")
        click.echo(f"overall: {click.style(overall, fg=COLORS.get(overall), bold=True)}")
        if reason := client.reason(response):
            click.echo(f"reason: {printable(reason)}")
    sys.exit(OK if overall == "OK" else OVER_LIMIT)


def _line(asked: Callable[[], Any], descriptors: tuple[Entries, ...], *, as_json: bool) -> str:
    """Return one line of --watch; an error is a line too."""
    from ratelimitd import client  # noqa: PLC0415 -- as above

    try:
        response = asked()
    except client.CheckError as error:
        return f"{time.strftime('%H:%M:%S')} {_colored('error')} {printable(str(error))}"
    if as_json:
        return client.as_json(response)
    sentences = "; ".join(sentence for _, sentence in client.lines(response, descriptors))
    return f"{time.strftime('%H:%M:%S')} {_colored(client.overall(response))} {printable(sentences)}"


def _colored(code: str) -> str:
    return click.style(f"{code:<10}", fg=COLORS.get(code))
