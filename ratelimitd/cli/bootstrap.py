"""``ratelimitd envoy``: a gateway file as a bootstrap of Envoy."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import click

from ratelimitd.gateway.file import domain_of, read_gateway
from ratelimitd.gateway.model import DEFAULT_ALGORITHM, Gateway
from ratelimitd.policy import UPSTREAM_ALGORITHM, Domain, DomainRow, Parsed, PolicyErrors, Row, assemble, examine
from ratelimitd.sources import GatewayFile, read_file, read_files, tiers_beside

from .flags import ERROR, OK

MISSING: Final = "envoy-data-plane is missing: pip install 'ratelimitd[envoy]'"


class CommandError(Exception):
    """The bootstrap cannot be made; says why, a line for each reason."""


class Made(NamedTuple):
    """The bootstrap as YAML, and what Envoy does otherwise, a line each."""

    text: str
    gaps: list[str]


class Asked(NamedTuple):
    """What the command line says.

    Attributes:
        rls: host and port of the rate limit service.
        admin: port of Envoy's own pages, on the loopback address.
        timeout: seconds the service has for an answer.
        failure_mode: allow or deny; "" follows the limits' on_store_failure.
    """

    rls: tuple[str, int] = ("localhost", 8081)
    admin: int = 9901
    timeout: float = 0.02
    failure_mode: str = ""


def run(file: str, output: Path | None, asked: Asked) -> int:
    """Write the bootstrap of a gateway file to ``output`` (None: stdout), and to stderr what Envoy does otherwise.

    Returns the exit code.
    """
    try:
        made = make(file, asked)
        if output is not None:
            output.write_text(made.text)
    except CommandError as error:
        return _complained(str(error))
    except OSError as error:
        return _complained(f"{output}: cannot be written: {error.strerror}")
    if output is None:
        click.echo(made.text, nl=False)
    for line in made.gaps:
        click.echo(f"not as `ratelimitd proxy`: {line}", err=True)
    return OK


def _complained(text: str) -> int:
    for line in text.splitlines():
        click.echo(f"ratelimitd: {line}", err=True)
    return ERROR


def make(file: str, asked: Asked) -> Made:
    """Make the bootstrap of a gateway file. Raises CommandError."""
    with warnings.catch_warnings():
        # envoy-data-plane has its types check themselves in a way that pydantic is going to drop: no news to our users.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _made(file, asked)


def _made(file: str, asked: Asked) -> Made:
    try:
        from ratelimitd.gateway import envoy  # noqa: PLC0415  an extra, which takes half a second to import
    except ModuleNotFoundError as error:
        if str(error.name).startswith("ratelimitd"):
            raise
        raise CommandError(MISSING) from error
    try:
        gateway = read_gateway(file, read_file(file), for_envoy=True)
        domain, remarks = _policies(gateway)
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error
    except PolicyErrors as error:
        raise CommandError("\n".join(map(str, error.errors))) from error
    deny = asked.failure_mode == "deny" if asked.failure_mode else envoy.denies(domain)
    options = envoy.Options(asked.rls, ("127.0.0.1", asked.admin), asked.timeout, deny)
    try:
        built = envoy.bootstrap(gateway, domain.name, options)
    except envoy.EnvoyError as error:
        raise CommandError(str(error)) from error
    return Made(envoy.as_yaml(built, command(file, asked)), [*envoy.gaps(gateway, domain), *remarks])


def command(file: str, asked: Asked) -> str:
    """Return the command that makes this bootstrap; what is as it would be anyway is left out."""
    flags: dict[str, Callable[[Asked], str]] = {
        "--rls": lambda asked: "{}:{}".format(*asked.rls),
        "--admin": lambda asked: str(asked.admin),
        "--timeout": lambda asked: f"{asked.timeout:g}s",
        "--failure-mode": lambda asked: asked.failure_mode,
    }
    said = [f" {flag} {shown(asked)}" for flag, shown in flags.items() if shown(asked) != shown(Asked())]
    return f"ratelimitd envoy {file}{''.join(said)}"


def _policies(gateway: Gateway) -> tuple[Domain, list[str]]:
    """Read the policies of a gateway to the domain that counts, and what the service must be told."""
    parsed = _examined(gateway, DEFAULT_ALGORITHM)
    if parsed.errors:
        raise PolicyErrors(parsed.errors)
    remarks = []
    if _matters(gateway, _examined(gateway, UPSTREAM_ALGORITHM)) != _matters(gateway, parsed):
        remarks.append(
            f"policies: limits without an algorithm are {DEFAULT_ALGORITHM} in a gateway:"
            f" serve this file itself (ratelimitd serve --config {gateway.file}), or write default_algorithm"
        )
    return domain_of(gateway, assemble(parsed.rows)), remarks


def _matters(gateway: Gateway, parsed: Parsed) -> list[Row]:
    """Leave out what says how limits that requests bring are counted, unless some do."""
    brought = any("limit" in limit.envoy for route in gateway.routes for limit in route.rate_limits)
    return [row for row in parsed.rows if brought or not isinstance(row, DomainRow)]


def _examined(gateway: Gateway, algorithm: str) -> Parsed:
    source = GatewayFile(gateway.file)
    return examine(read_files(source), default_algorithm=algorithm, beside=tiers_beside(source))
