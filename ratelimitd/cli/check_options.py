"""Options of ``ratelimitd check`` for TLS and for repeated calls."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ratelimitd.config.values import positive_duration

from .flags import Text

if TYPE_CHECKING:
    from ratelimitd.client import Tls

Command = TypeVar("Command", bound=Callable[..., Any])

INTERVAL: Final = "1s"
"""Default interval of --watch: the shortest window of a limit."""

PEM: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def tls_options(command: Command) -> Command:
    """Add --tls, --cacert, --cert, --key and --server-name."""
    for option in (
        click.option(
            "--server-name",
            default="",
            metavar="NAME",
            help="Name in the service's certificate, if --address is another, as with a port-forward; implies --tls.",
        ),
        click.option("--key", type=PEM, metavar="FILE", help="PEM file of the private key of --cert."),
        click.option("--cert", type=PEM, metavar="FILE", help="PEM file of a client certificate (mutual TLS)."),
        click.option(
            "--cacert", type=PEM, metavar="FILE", help="PEM file of the CA of the service's certificate; implies --tls."
        ),
        click.option("--tls", is_flag=True, help="Use TLS. Without --cacert the CAs that grpc trusts are accepted."),
    ):
        command = option(command)
    return command


def watch_options(command: Command) -> Command:
    """Add --watch and --interval."""
    command = click.option(
        "--interval", type=Text("duration", positive_duration), default=INTERVAL, show_default=True,
        help="Time between two calls of --watch.",
    )(command)  # fmt: skip
    return click.option(
        "--watch", is_flag=True, help="Repeat, one line each, until Ctrl-C. Peeks (--hits 0) unless --hits is given."
    )(command)


def read_tls(*, tls: bool, cacert: Path | None, cert: Path | None, key: Path | None, server_name: str) -> "Tls | None":
    """Return the TLS parameters of a call, or None for plain text."""
    from ratelimitd.client import Tls  # noqa: PLC0415 -- grpcio, which takes most of a second to import

    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key belong together")
    if not (tls or cacert or cert or server_name):
        return None
    ca, chain, private = (None if path is None else path.read_bytes() for path in (cacert, cert, key))
    return Tls(ca, chain, private, server_name)


def repeat(line: Callable[[], str], interval: float) -> None:
    """Print a line now and after each interval, until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        while True:
            click.echo(line())
            time.sleep(interval)
