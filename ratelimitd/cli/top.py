"""``ratelimitd top``."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from ratelimitd.config.values import positive_duration
from ratelimitd.printable import printable

from .debug_port import TokenError, address_option, source_at
from .flags import ERROR, OK, Text, examples

if TYPE_CHECKING:
    from ratelimitd.terminal import Source, View

SORTS: Final = ("denied", "allowed", "rate", "use", "keys", "name")
"""``terminal.SORTS``, without rich."""


@click.command(
    epilog=examples(
        "ratelimitd top",
        "ratelimitd top --keys --sort denied",
        "ratelimitd top --limit shop.user --once",
        "ADMIN_TOKEN_FILE=admin-token ratelimitd top --address localhost:6070 --all",
        "ratelimitd top --once --json | jq '.limits.limits[] | select(.use > 0.8) | .name'",
    )
)
@address_option
@click.option("--all", "everywhere", is_flag=True, help="Of all replicas (PEERS of the service) together.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default=SORTS[0],
    show_default=True,
    help="Order: of the last seconds denied, allowed or all hits, use of the fullest key, number of keys, or name.",
)
@click.option("--limit", "name", metavar="NAME", help="Show one limit: its hour, top keys and last denials.")
@click.option("--keys", is_flag=True, help="Show the top keys of the busiest limits.")
@click.option("--once", is_flag=True, help="Print one table, and exit.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print the documents of /live/ as one JSON object.")
@click.option(
    "--interval",
    type=Text("duration", positive_duration),
    default="2s",
    show_default=True,
    help="Time between two questions to the service.",
)
def top(address: tuple[str, int], sort: str, interval: float, **options: Any) -> None:
    """Show the limits of a running service, how full they are, and which keys use them, in a full screen.

    The arrow keys select a limit, Enter shows its top keys, Esc goes back, Tab shows the keys of all limits, s and the
    letters d, a, r, u, c and n sort, / searches, and q quits. Keys of callers are shown hashed unless ADMIN_TOKEN or
    ADMIN_TOKEN_FILE is that of the service. Exits 0, or 2 after an error.
    """
    if options["as_json"] and not options["once"]:
        raise click.UsageError("--json belongs to --once")
    if sort == "keys" and (options["keys"] or options["name"]):
        raise click.UsageError("--sort keys is an order of limits, and keys are shown: write another order")
    from ratelimitd.terminal import LiveError, View  # noqa: PLC0415 -- rich

    view = View(page="keys" if options["keys"] else "limits", sort=sort)
    try:
        source = source_at(address)
        code = asyncio.run(_shown(source, view, interval=interval, **options))
    except (LiveError, TokenError) as error:
        click.echo(f"ratelimitd: {printable(str(error))}", err=True)
        code = ERROR
    except KeyboardInterrupt:
        code = OK
    sys.exit(code)


async def _shown(
    source: "Source",
    view: "View",
    *,
    everywhere: bool,
    name: str | None,
    once: bool,
    as_json: bool,
    interval: float,
    keys: bool,  # noqa: ARG001 -- in the view
) -> int:
    """Show the view, or print it once; returns the exit code. Raises LiveError."""
    from ratelimitd import terminal  # noqa: PLC0415 -- rich

    console = terminal.output()
    scope = {"all": "1"} if everywhere else {}
    if not (once or terminal.usable(console)):
        raise terminal.LiveError("top needs a terminal for its input and output: --once prints one table")
    if name:
        view = view._replace(page="limit", opened=await terminal.limit_named(source, name, scope))
    if not once:
        return await terminal.top(source, view, scope, interval, terminal.Screen(console))
    data = await terminal.gathered(source, view, scope, whole=True)
    if as_json:
        click.echo(json.dumps(terminal.as_json(data), indent=2))
    else:
        terminal.print_once(data, view)
    return OK
