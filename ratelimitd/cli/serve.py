"""The commands that serve: ``serve`` and ``proxy``."""

import os
import sys
from collections.abc import Mapping

import click

from ratelimitd.settings import Settings, SettingsError, load

from .flags import ERROR, examples, settings_flags


@click.command(
    epilog=examples(
        "ratelimitd serve --config policy.yaml",
        "ratelimitd serve --config policies/ --redis-url redis:6379 --grpc-port 18081",
        "RUNTIME_ROOT=/data RUNTIME_SUBDIRECTORY=ratelimit ratelimitd serve",
    )
)
@click.option("--config", type=click.Path(), multiple=True, metavar="PATH", help="Policy file or folder.")
@settings_flags
def serve(config: tuple[str, ...], **flags: str | None) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Every flag but --config is also an environment variable (--grpc-port is GRPC_PORT); the flag wins. Counters live in
    memory, or in Redis when its address is given.
    """
    settings = _settings(flags)
    from ratelimitd.app import run  # noqa: PLC0415  the whole service, which no other command needs

    sys.exit(run(settings, config))


@click.command(
    epilog=examples(
        "ratelimitd proxy                                          # :8080 before http://localhost:8081",
        "LISTEN_ADDR=:80 DOWNSTREAM_URL=http://app:8000 ratelimitd proxy",
        "ratelimitd proxy --print-config > gateway.yaml",
        "ratelimitd proxy --config gateway.yaml --redis-addr localhost:6379",
    )
)
@click.option("--config", type=click.Path(), metavar="FILE", help="Gateway file; without one a default is used.")
@click.option("--print-config", is_flag=True, help="Print the default file, to be edited.")
@click.option("--with-service", is_flag=True, help="Serve the same policies to Envoy too, as `serve` does.")
@settings_flags
def proxy(
    config: str | None,
    print_config: bool,  # noqa: FBT001  click calls it by name
    with_service: bool,  # noqa: FBT001  click calls it by name
    **flags: str | None,
) -> None:
    """Run the fallback reverse proxy: the same limits without Envoy.

    LISTEN_ADDR, DOWNSTREAM_URL, REDIS_ADDR and GRACEFUL_SHUTDOWN_TIMEOUT are enough to begin with.
    """
    settings = _settings(flags)
    from ratelimitd.app import proxy as gateway  # noqa: PLC0415  the whole service, which no other command needs

    if print_config:
        click.echo(gateway.default_config(settings), nl=False)
        return
    sys.exit(gateway.run(settings, config, with_service=with_service))


def _settings(flags: Mapping[str, str | None]) -> Settings:
    """Read the settings, or end with every problem there is."""
    try:
        return load(os.environ, {name.upper(): value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"ratelimitd: {problem}", err=True)
        sys.exit(ERROR)
