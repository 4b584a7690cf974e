"""``ratelimitd envoy``."""

import sys
from pathlib import Path

import click

from ratelimitd.config.values import host_port, port_number, positive_duration

from .flags import Text, config_paths, examples, only_one


@click.command(
    epilog=examples(
        "ratelimitd envoy gateway.yaml -o envoy.yaml",
        "ratelimitd envoy gateway.yaml --rls ratelimitd:8081 | less",
    )
)
@config_paths("Gateway file, as the argument.", folders=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to this file instead of stdout.",
)
@click.option(
    "--rls",
    type=Text("address", host_port),
    default="localhost:8081",
    show_default=True,
    metavar="HOST:PORT",
    help="gRPC address of the service.",
)
@click.option(
    "--admin",
    type=Text("port", port_number),
    default="9901",
    show_default=True,
    metavar="PORT",
    help="Port of Envoy's admin interface, on 127.0.0.1.",
)
@click.option(
    "--timeout",
    type=Text("duration", positive_duration),
    default="20ms",
    show_default=True,
    help="How long Envoy waits for the service; 20ms is Envoy's own default.",
)
@click.option(
    "--failure-mode",
    type=click.Choice(["allow", "deny"]),
    default=None,
    help="What Envoy does with requests while the service does not respond. [default: the limits' on_store_failure]",
)
def envoy(
    config: tuple[str, ...],
    output: Path | None,
    rls: tuple[str, int],
    admin: int,
    timeout: float,
    failure_mode: str | None,
) -> None:
    """Generate an Envoy configuration from a gateway file; stderr has differences from proxy, and warnings."""
    file = only_one(config)
    if file is None:
        raise click.UsageError("no path is given: write a gateway file")
    from .bootstrap import BootstrapOptions, run  # noqa: PLC0415 -- imports the gateway package

    sys.exit(run(file, output, BootstrapOptions(rls, admin, timeout, failure_mode or "")))
