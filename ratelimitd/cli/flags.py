"""Shared parts of the commands: parameter types, flags generated from the settings table, and help pages."""

import os
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from ratelimitd.config.values import Choice, boolean
from ratelimitd.settings import ROWS, Row, RowStatus, Settings, SettingsError, load

if TYPE_CHECKING:
    from ratelimitd.config.problems import PolicyError
    from ratelimitd.gateway import Gateway
    from ratelimitd.sources import Examined, Source

Command = TypeVar("Command", bound=Callable[..., Any])

OK, OVER_LIMIT, ERROR = range(3)
"""Exit codes."""


HITS_HELP = (
    "Cost of each descriptor. Absent: none is sent, which asks for 1. N: asks for N, and reports N to a limit with "
    "charge: after. 0: asks, and costs nothing."
)


class Text(click.ParamType[Any, str]):
    """A parameter that ``parse`` converts; its ValueError becomes a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the argument; a default that is not a string is returned unchanged."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 -- click's
        param: click.Parameter,  # noqa: ARG002 -- click's
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """Complete the values of a parser that knows them all."""
        return values(self._parse, incomplete)


def values(parse: Callable[[str], Any], incomplete: str) -> list[CompletionItem[str]]:
    """Return the values of a parser that begin with ``incomplete``; none if it takes any number of them."""
    known = ("true", "false") if parse is boolean else parse.names if isinstance(parse, Choice) else ()
    return [CompletionItem(name) for name in known if name and name.startswith(incomplete)]


def config_paths(help_text: str, *, exist: bool = True, folders: bool = True) -> Callable[[Command], Command]:
    """Let a command take paths as arguments and as --config; it receives both together as ``config``.

    ``exist``: a path that does not exist, or cannot be read, is a usage error. ``folders``: folders are allowed.
    """
    path = click.Path(exists=exist, dir_okay=folders)

    def decorate(command: Command) -> Command:
        @wraps(command)
        def merged(*args: Any, paths: tuple[str, ...], config: tuple[str, ...], **options: Any) -> Any:
            return command(*args, config=(*paths, *config), **options)

        with_option = click.option("--config", multiple=True, type=path, metavar="PATH", help=help_text)(merged)
        return cast("Command", click.argument("paths", nargs=-1, type=path, metavar="[PATH]...")(with_option))

    return decorate


def only_one(config: tuple[str, ...]) -> str | None:
    """Return the path of a command that takes one, None without; more are a usage error."""
    if len(config) > 1:
        raise click.UsageError(f"one file is enough, and {len(config)} are given: {', '.join(config)}")
    return config[0] if config else None


def settings_flags(command: Command) -> Command:
    """Add a flag for each supported setting to a command."""
    for row in reversed(ROWS):
        if row.status is not RowStatus.WORKS:
            continue
        switch = row.parse is boolean
        command = click.option(
            row.flag,
            row.name.lower(),
            metavar="[true|false]" if switch else "VALUE",
            is_flag=False,
            flag_value="true" if switch else None,
            shell_complete=partial(_values_of, row.parse),
            help=row.doc + (f" [default: {row.default}]" if row.default else ""),
        )(command)
    return command


def _values_of(
    parse: Callable[[str], Any],
    ctx: click.Context,  # noqa: ARG001 -- click's
    param: click.Parameter,  # noqa: ARG001 -- click's
    incomplete: str,
) -> list[CompletionItem[str]]:
    return values(parse, incomplete)


def keys_flag(command: Command) -> Command:
    """Add the setting that says which limits have envoyproxy/ratelimit's keys in Redis, with its variable."""
    return _with_variable(command, Settings.fixed_window_keys)


def policy_flags(command: Command) -> Command:
    """Add the settings that affect the parsing of policies to a command, with their environment variables."""
    for row in (
        Settings.merge_domain_config,
        Settings.default_algorithm,
        Settings.policy_max_bytes,
        Settings.policy_overlay,
    ):
        command = _with_variable(command, row)
    return command


def _with_variable(command: Command, row: Row[Any]) -> Command:
    """Add a flag for a setting that also reads its variable."""
    option = click.option(
        row.flag,
        row.name.lower(),
        type=Text(row.name.lower(), row.parse),
        envvar=row.name,
        default=row.default,
        show_default=True,
        is_flag=False,
        flag_value="true" if row.parse is boolean else None,
        metavar="VALUE",
        help=row.doc,
    )
    return option(command)


def examples(*lines: str) -> str:
    r"""Return the examples for the end of a help page; click does not rewrap a paragraph that begins with ``\b``."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def examined(
    paths: Iterable[str],
    default_algorithm: str,
    *,
    merge_domains: bool,
    most: int,
    with_service: bool = False,
    fixed_window_keys: str = "safe",
    overlay: str = "",
) -> "Examined":
    """Read the policy files at these paths, or a gateway file, and return all errors and warnings.

    The files have at most ``most`` bytes. A gateway file has to agree with its policies, and with the ports of the
    settings, as at the start of a proxy. A fault of the overlay is an error here.
    """
    from ratelimitd.gateway import read_gateway  # noqa: PLC0415 -- the engine
    from ratelimitd.policy import FixedWindowKeys, PolicyErrors  # noqa: PLC0415 -- the engine
    from ratelimitd.sources import (  # noqa: PLC0415 -- the engine
        GATEWAY_ALGORITHM,
        GatewayFile,
        OverlayFile,
        examine_source,
        find_overlay,
        named,
        read_file,
    )

    found = find_overlay(OverlayFile(overlay)) if overlay else None
    examine = partial(
        examine_source,
        merge_domains=merge_domains,
        fixed_window_keys=FixedWindowKeys(fixed_window_keys),
        most=most,
        overlay=None if found is None else found.overlay,
    )
    source: Source = named(tuple(paths))
    try:
        gateway = None
        if isinstance(source, GatewayFile):
            default_algorithm = GATEWAY_ALGORITHM
            gateway = read_gateway(source.path, read_file(source.path), for_envoy=True)
        made = examine(source, default_algorithm=default_algorithm)
        if gateway is not None and not made.parsed.errors:
            _check_gateway(gateway, made, with_service=with_service)
    except PolicyErrors as errors:
        made = without_policy(errors.errors)
    faults = () if found is None else found.faults
    return made._replace(parsed=made.parsed._replace(errors=[*made.parsed.errors, *faults])) if faults else made


def without_policy(errors: Iterable["PolicyError"]) -> "Examined":
    """Return what is said in place of a policy that cannot be read: these errors."""
    from ratelimitd.policy import PolicySummary  # noqa: PLC0415 -- the engine
    from ratelimitd.policy_file import Parsed  # noqa: PLC0415 -- the engine
    from ratelimitd.sources import Examined  # noqa: PLC0415 -- the engine

    return Examined(Parsed([], list(errors), PolicySummary(0, 0, 0)), [], 0)


def _check_gateway(gateway: "Gateway", found: "Examined", *, with_service: bool) -> None:
    """Check that a gateway file agrees with its policies and the ports. Raises PolicyErrors.

    Settings with errors have no ports; ``doctor`` reports such errors, and no command starts with them.
    """
    from ratelimitd.app.beside import beside_proxy  # noqa: PLC0415 -- the engine
    from ratelimitd.app.ports import clashing  # noqa: PLC0415 -- the engine
    from ratelimitd.gateway import domain_of  # noqa: PLC0415 -- the engine
    from ratelimitd.policy import PolicyError, PolicyErrors, assemble  # noqa: PLC0415 -- the engine

    domain_of(gateway, assemble(found.parsed.rows))
    try:
        settings = load(os.environ, {})
    except SettingsError:
        return
    if with_service:
        settings = beside_proxy(settings, gateway)
    wrong = clashing(settings, gateway, with_service=with_service)
    if wrong:
        raise PolicyErrors([PolicyError(gateway.file, 0, str(clash)) for clash in wrong])
