"""``ratelimitd watch``."""

import asyncio
import json
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import click

from ratelimitd.printable import printable

from .debug_port import TokenError, address_option, source_at
from .flags import ERROR, OK, examples

if TYPE_CHECKING:
    from ratelimitd.terminal import Event, Source

LINES_MOST: Final = 1000
"""As of the decision log (docs/admin.md)."""


@click.command(
    epilog=examples(
        "ratelimitd watch",
        "ratelimitd watch --denied --domain shop",
        "ratelimitd watch --limit shop.user --entry user=alice --json",
    )
)
@address_option
@click.option("-d", "--domain", default="", help="Only decisions of this domain.")
@click.option("--limit", default="", metavar="NAME", help="Only decisions that this limit took part in.")
@click.option(
    "--entry", default="", metavar="KEY[=VALUE]", help="Only requests with this entry in a descriptor; KEY: any value."
)
@click.option(
    "--lines",
    type=click.IntRange(1, LINES_MOST),
    default=100,
    show_default=True,
    metavar="N",
    help="Decisions a second; further ones are counted.",
)
@click.option("--denied", is_flag=True, help="Only decisions other than OK.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def watch(address: tuple[str, int], *, denied: bool, as_json: bool, lines: int, **filters: str) -> None:
    """Print the decisions of a running service as it makes them, a line each, until Ctrl-C.

    Values of keys are shown hashed unless ADMIN_TOKEN or ADMIN_TOKEN_FILE is that of the service. When the connection
    ends, another is made, and said on stderr. Exits 0 after Ctrl-C, 2 after an error.
    """
    from ratelimitd.terminal import LiveError  # noqa: PLC0415 -- rich

    query = {name: value for name, value in filters.items() if value}
    query |= {"lines": str(lines), **({"denied": "1"} if denied else {})}
    try:
        asyncio.run(_watched(source_at(address), query, denied=denied, as_json=as_json))
    except (LiveError, TokenError) as error:
        _say(str(error))
        sys.exit(ERROR)
    except KeyboardInterrupt:
        sys.exit(OK)


async def _watched(source: "Source", query: dict[str, str], *, denied: bool, as_json: bool) -> None:
    from ratelimitd.terminal import print_line, watched  # noqa: PLC0415 -- rich

    async with aclosing(watched(source, query, _say)) as events:
        async for event in events:
            if denied and event.data.get("code") == "OK":
                continue
            if as_json:
                _print_json(event)
            else:
                print_line(event)


def _print_json(event: "Event") -> None:
    """Print a decision as it is, and another event under its name."""
    value: Any = event.data if event.name == "decision" else {event.name: event.data}
    click.echo(json.dumps(value))


def _say(text: str) -> None:
    click.echo(f"ratelimitd: {printable(text)}", err=True)
