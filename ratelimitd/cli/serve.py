"""``ratelimitd serve`` and ``ratelimitd proxy``."""

import os
import re
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from ratelimitd.config.values import origin_url, quota
from ratelimitd.settings import XDS, Settings, SettingsError, load

from .flags import ERROR, Text, config_paths, examples, only_one, settings_flags

BY_ADDRESS_KEY: Final = "masked_remote_address"
"""The descriptor key of callers by address, which a header cannot have too."""


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
    hold_reloads()
    sys.exit(run_service(read_settings(flags), config))


def hold_reloads() -> None:
    """Ignore SIGHUP, which would end the start, until there is a policy to reload."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def run_service(settings: Settings, config: tuple[str, ...]) -> int:
    """Run the service until a signal; returns the exit code."""
    if settings.over_xds and config:
        raise click.UsageError(f"the policy is a control plane's: unset CONFIG_TYPE={XDS}, or leave out the path")
    from ratelimitd.app import run  # noqa: PLC0415 -- imports the whole service, which other commands do not need

    return run(settings, config)


def _caller(text: str) -> str:
    """Parse ``address`` or the name of a header, in lower case; without characters that a policy reads otherwise."""
    name = text.lower()
    if not re.fullmatch("[0-9a-z_-]+", name) or name == BY_ADDRESS_KEY:
        raise ValueError("neither address nor the name of a header, such as x-api-key")
    return name


@click.command(
    epilog=examples(
        "ratelimitd proxy --upstream http://localhost:8000 --limit 10/s --by x-api-key",
        "ratelimitd proxy --upstream http://localhost:8000 --limit 10/s --limit 1000/day --print-config > gateway.yaml",
        "LISTEN_ADDR=:80 UPSTREAM_URL=http://app:8000 ratelimitd proxy",
        "ratelimitd proxy gateway.yaml --redis-addr localhost:6379",
    )
)
@config_paths("Gateway file, as the argument. [default: a built-in file]", folders=False)
@click.option("--upstream", type=Text("url", origin_url), metavar="URL", help="Upstream, as --upstream-url.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    type=Text("limit", quota),
    metavar="N/UNIT",
    help="Limit each caller, for example 10/s, 100/min or 1000/day; all limits apply. Replaces the built-in file's.",
)
@click.option(
    "--by",
    type=Text("by", _caller),
    metavar="address|HEADER",
    help="Tell callers apart by client address, or by a header such as x-api-key; those without it by address. "
    "[default: address]",
)
@click.option("--print-config", is_flag=True, help="Print the gateway file that the flags stand for, and exit.")
@click.option("--with-service", is_flag=True, help="Also serve the same policies to Envoy, as `serve` does.")
@settings_flags
def proxy(
    config: tuple[str, ...],
    upstream: str | None,
    limits: tuple[tuple[int, str], ...],
    by: str | None,
    print_config: bool,
    with_service: bool,
    **flags: str | None,
) -> None:
    """Run the fallback reverse proxy, which enforces the same limits without Envoy.

    Without --config, --upstream and --limit stand for a gateway file, which --print-config prints. Without --limit it
    is a built-in file, with limits by API key and address.
    """
    hold_reloads()
    file = only_one(config)
    _check(file, {"--upstream": upstream, "--limit": limits, "--by": by, "--print-config": print_config})
    if upstream is not None:
        flags["upstream_url"] = upstream
    settings = read_settings(flags)
    if settings.over_xds:
        raise click.UsageError(f"a proxy has its policies from its gateway file: unset CONFIG_TYPE={XDS}")
    from ratelimitd.app import proxy as gateway  # noqa: PLC0415 -- imports the whole service
    from ratelimitd.gateway import CallerLimits  # noqa: PLC0415 -- imports the engine

    wanted = CallerLimits(limits, by or "address") if limits else None
    if print_config:
        click.echo(gateway.config_without_file(settings, wanted), nl=False)
        return
    sys.exit(gateway.run(settings, file, wanted, with_service=with_service))


IN_FILE: Final = "has no effect with a gateway file: write it into the gateway file"
WITH_FILE: Final = {"--print-config": "prints the file that is used without a gateway file: leave out the path"}
"""What to do with a flag that is given beside a gateway file."""


def _check(file: str | None, given: Mapping[str, Any]) -> None:
    """Reject flags without effect."""
    named = [name for name, value in given.items() if value]
    if file is not None and named:
        raise click.UsageError(f"{named[0]} {WITH_FILE.get(named[0], IN_FILE)}")
    if given["--by"] and not given["--limit"]:
        raise click.UsageError("--by needs --limit, for example --limit 10/s")
    units = [unit for _, unit in given["--limit"]]
    if len(units) > len(set(units)):
        raise click.UsageError("--limit: write one limit per unit")


def read_settings(flags: Mapping[str, str | None]) -> Settings:
    """Read the settings; on errors print all of them and exit."""
    try:
        return load(os.environ, {name.upper(): value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"ratelimitd: {problem}", err=True)
        sys.exit(ERROR)
