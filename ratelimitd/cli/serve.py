"""``ratelimitd serve`` and ``ratelimitd proxy``."""

import os
import sys
from collections.abc import Mapping

import click

from ratelimitd.settings import Settings, SettingsError, load

from .flags import ERROR, config_paths, examples, only_one, settings_flags


@click.command(
    epilog=examples(
        "ratelimitd serve policy.yaml",
        "ratelimitd serve --config policies/ --redis-url redis:6379 --grpc-port 18081",
        "RUNTIME_ROOT=/data RUNTIME_SUBDIRECTORY=ratelimit ratelimitd serve",
    )
)
@config_paths("Policy file or folder, as the argument.")
@settings_flags
def serve(config: tuple[str, ...], **flags: str | None) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    PATH is a policy file or folder; without one, the folder of the RUNTIME_* settings is read.
    Every flag except --config is also an environment variable (--grpc-port is GRPC_PORT); the flag overrides it.
    Counters are kept in memory, or in Redis if its address is set.
    """
    settings = _settings(flags)
    from ratelimitd.app import run  # noqa: PLC0415 -- imports the whole service, which other commands do not need

    sys.exit(run(settings, config))


@click.command(
    epilog=examples(
        "ratelimitd proxy                                 # listens on :8080, upstream is http://localhost:8081",
        "LISTEN_ADDR=:80 DOWNSTREAM_URL=http://app:8000 ratelimitd proxy",
        "ratelimitd proxy --print-config > gateway.yaml",
        "ratelimitd proxy gateway.yaml --redis-addr localhost:6379",
    )
)
@config_paths("Gateway file, as the argument. [default: a built-in file]", folders=False)
@click.option("--print-config", is_flag=True, help="Print the built-in gateway file, as a template, and exit.")
@click.option("--with-service", is_flag=True, help="Also serve the same policies to Envoy, as `serve` does.")
@settings_flags
def proxy(
    config: tuple[str, ...],
    print_config: bool,  # noqa: FBT001 -- click passes keywords
    with_service: bool,  # noqa: FBT001 -- click passes keywords
    **flags: str | None,
) -> None:
    """Run the fallback reverse proxy, which enforces the same limits without Envoy.

    LISTEN_ADDR, DOWNSTREAM_URL, REDIS_ADDR and GRACEFUL_SHUTDOWN_TIMEOUT are sufficient to start.
    """
    file = only_one(config)
    settings = _settings(flags)
    from ratelimitd.app import proxy as gateway  # noqa: PLC0415 -- imports the whole service

    if print_config:
        click.echo(gateway.default_config(settings), nl=False)
        return
    sys.exit(gateway.run(settings, file, with_service=with_service))


def _settings(flags: Mapping[str, str | None]) -> Settings:
    """Read the settings; on errors print all of them and exit."""
    try:
        return load(os.environ, {name.upper(): value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"ratelimitd: {problem}", err=True)
        sys.exit(ERROR)
