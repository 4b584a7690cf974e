"""``ratelimitd envoy``: generate Envoy's bootstrap configuration from a gateway file."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import click

from ratelimitd.gateway import Gateway, domain_of, read_gateway, upstream_at
from ratelimitd.policy import UPSTREAM_ALGORITHM, Domain, DomainRow, PolicyError, PolicyErrors, Row, assemble
from ratelimitd.policy_file import Parsed, examine
from ratelimitd.sources import GATEWAY_ALGORITHM, GatewayFile, examine_source, read_file, read_files, tiers_beside

from .flags import ERROR, OK

MISSING: Final = "envoy-data-plane is missing; run pip install 'ratelimitd[envoy]'"


class CommandError(Exception):
    """The bootstrap cannot be generated; the message has one line per reason."""


class Bootstrap(NamedTuple):
    """The bootstrap of a gateway file.

    Attributes:
        text: as YAML.
        gaps: the differences between Envoy and ``ratelimitd proxy``, one line each.
        warnings: of the lint, about the file.
    """

    text: str
    gaps: list[str]
    warnings: list[PolicyError]


class BootstrapOptions(NamedTuple):
    """Options of the command line.

    Attributes:
        rls: host and port of the rate-limit service.
        admin: port of Envoy's admin interface, on the loopback address.
        timeout: seconds that Envoy waits for the service's response.
        failure_mode: allow or deny; "" follows the limits' on_store_failure.
    """

    rls: tuple[str, int] = ("localhost", 8081)
    admin: int = 9901
    timeout: float = 0.02
    failure_mode: str = ""


def run(file: str, output: Path | None, options: BootstrapOptions) -> int:
    """Write the bootstrap of a gateway file to ``output`` (None: stdout), and differences and warnings to stderr.

    Returns the exit code.
    """
    try:
        made = make(file, options)
        if output is not None:
            output.write_text(made.text)
    except CommandError as error:
        return _print_error(str(error))
    except OSError as error:
        return _print_error(f"{output}: cannot be written: {error.strerror}")
    if output is None:
        click.echo(made.text, nl=False)
    for line in made.gaps:
        click.echo(f"differs from `ratelimitd proxy`: {line}", err=True)
    for warning in made.warnings:
        click.echo(f"warning: {warning}", err=True)
    return OK


def _print_error(text: str) -> int:
    for line in text.splitlines():
        click.echo(f"ratelimitd: {line}", err=True)
    return ERROR


def make(file: str, options: BootstrapOptions) -> Bootstrap:
    """Generate the bootstrap of a gateway file. Raises CommandError."""
    with warnings.catch_warnings():
        # envoy-data-plane uses a deprecated pydantic API; users of the command cannot do anything about it.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _make(file, options)


def _make(file: str, options: BootstrapOptions) -> Bootstrap:
    try:
        from ratelimitd.gateway import envoy  # noqa: PLC0415 -- needs an extra, and takes half a second to import
    except ModuleNotFoundError as error:
        if str(error.name).startswith("ratelimitd"):
            raise
        raise CommandError(MISSING) from error
    try:
        gateway = read_gateway(file, read_file(file), for_envoy=True)
        domain, remarks, found = _policies(gateway)
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error
    except PolicyErrors as error:
        raise CommandError("\n".join(map(str, error.errors))) from error
    upstream = upstream_at(gateway, *options.rls)
    if upstream is not None:
        same = "--rls {}:{} is also upstream '{}'".format(*options.rls, upstream)
        raise CommandError(f"{same}: Envoy would ask the application for limits; write the address of the service")
    deny = options.failure_mode == "deny" if options.failure_mode else envoy.denies(domain)
    envoy_options = envoy.EnvoyOptions(options.rls, ("127.0.0.1", options.admin), options.timeout, deny)
    try:
        built = envoy.bootstrap(gateway, domain.name, envoy_options)
    except envoy.EnvoyError as error:
        raise CommandError(str(error)) from error
    text = envoy.as_yaml(built, command(file, options))
    return Bootstrap(text, [*envoy.gaps(gateway, domain), *remarks], found)


def command(file: str, options: BootstrapOptions) -> str:
    """Return the command that generates this bootstrap, without the flags that have their default value."""
    flags: dict[str, Callable[[BootstrapOptions], str]] = {
        "--rls": lambda options: "{}:{}".format(*options.rls),
        "--admin": lambda options: str(options.admin),
        "--timeout": lambda options: f"{options.timeout:g}s",
        "--failure-mode": lambda options: options.failure_mode,
    }
    default = BootstrapOptions()
    given = [f" {flag} {value(options)}" for flag, value in flags.items() if value(options) != value(default)]
    return f"ratelimitd envoy {file}{''.join(given)}"


def _policies(gateway: Gateway) -> tuple[Domain, list[str], list[PolicyError]]:
    """Return the gateway's domain, remarks on what the service needs to do the same, and the warnings of the lint."""
    source = GatewayFile(gateway.file)
    found = examine_source(source, default_algorithm=GATEWAY_ALGORITHM)
    parsed = found.parsed
    if parsed.errors:
        raise PolicyErrors(parsed.errors)
    as_policy = examine(read_files(source), default_algorithm=UPSTREAM_ALGORITHM, beside=tiers_beside(source))
    remarks = []
    if _relevant(gateway, as_policy) != _relevant(gateway, parsed):
        remarks.append(
            f"policies: limits without an algorithm default to {GATEWAY_ALGORITHM} in a gateway file:"
            f" serve the same file (ratelimitd serve --config {gateway.file}), or set default_algorithm in it"
        )
    return domain_of(gateway, assemble(parsed.rows)), remarks, found.warnings


def _relevant(gateway: Gateway, parsed: Parsed) -> list[Row]:
    """Drop the rows that only configure limit overrides, unless a route's requests carry overrides."""
    overrides = any("limit" in limit.envoy for route in gateway.routes for limit in route.rate_limits)
    return [row for row in parsed.rows if overrides or not isinstance(row, DomainRow)]
