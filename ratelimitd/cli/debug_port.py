"""The debug port that a command asks: its address, and the token of the service."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ratelimitd.config.values import EVERYWHERE, host_port

from .flags import Text

if TYPE_CHECKING:
    from ratelimitd.terminal import Source

Command = TypeVar("Command", bound=Callable[..., Any])

TOKENS: Final = "ADMIN_TOKEN or ADMIN_TOKEN_FILE"


class TokenError(Exception):
    """The token cannot be read or sent; the message says which variable is wrong."""


def token_of(environ: Mapping[str, str]) -> str:
    """Return the token of the environment, "" if it has none. Raises TokenError."""
    name, token = "ADMIN_TOKEN", environ.get("ADMIN_TOKEN", "").strip()
    path = environ.get("ADMIN_TOKEN_FILE")
    if not token and path:
        name = f"ADMIN_TOKEN_FILE: {path}"
        try:
            token = Path(path).read_text().strip()
        except (OSError, UnicodeError) as error:
            raise TokenError(f"{name}: cannot be read: {error}") from error
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise TokenError(f"{name}: contains white space or non-ASCII characters, which no token has")
    return token


address_option = click.option(
    "--address",
    type=Text("address", host_port),
    default="localhost:6070",
    show_default=True,
    metavar="HOST:PORT",
    help="Debug port of the service.",
)


def source_at(address: tuple[str, int]) -> "Source":
    """Return the service at an address, with the token of the environment. Raises TokenError."""
    from ratelimitd.http1 import Endpoint  # noqa: PLC0415 -- with the event loop
    from ratelimitd.terminal import Source  # noqa: PLC0415 -- rich

    host, port = address
    return Source(Endpoint("localhost" if host == EVERYWHERE else host, port), token_of(os.environ))
