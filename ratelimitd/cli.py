"""The command line: parses and calls. What a command needs is imported when it runs, so that --help is quick."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ratelimitd import __version__
from ratelimitd.descriptor_text import Entries, encode
from ratelimitd.descriptor_text import parse as parse_descriptor
from ratelimitd.settings import ROWS, Settings, SettingsError, Status, load
from ratelimitd.settings.parsers import boolean, positive_duration

if TYPE_CHECKING:
    from ratelimitd.policy import Parsed
    from ratelimitd.simulate import Event, Run

Command = TypeVar("Command", bound=Callable[..., Any])

OK, OVER_LIMIT, ERROR = range(3)
COLOURS: Final = {"OK": "green", "OVER_LIMIT": "red"}

TIMEOUT: Final = "5s"
"""Of ``check``: long enough for a service across the world, short enough for a person."""

_UNITS: Final = {"s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}


class _Text(click.ParamType[Any, str]):
    """A word of the command line that ``parse`` reads; its ValueError becomes a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the word; a default that is no text is taken as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _rate(text: str) -> float:
    """Read ``20/s``, ``100/minute`` or a plain number a second."""
    amount, _, unit = text.partition("/")
    try:
        rate = float(amount) / _UNITS[unit or "s"]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate <= 1e9:
        raise ValueError("not a rate: write one like 20/s, 100/m, 5/h")
    return rate


def _algorithms(text: str) -> list[str]:
    return [Settings.default_algorithm.parse(name.strip()) for name in text.split(",")]


_PATHS: Final = click.Path(exists=True, path_type=Path)


def _settings_flags(command: Command) -> Command:
    """Give a command a flag for each setting that works."""
    for row in reversed(ROWS):
        if row.status is not Status.WORKS:
            continue
        switch = row.parse is boolean
        command = click.option(
            row.flag,
            row.name.lower(),
            metavar="[true|false]" if switch else "VALUE",
            is_flag=False,
            flag_value="true" if switch else None,
            help=row.doc + (f" [default: {row.default}]" if row.default else ""),
        )(command)
    return command


def _policy_flags(command: Command) -> Command:
    """Give a command the two settings that decide how a policy is read, with their variables."""
    for row in (Settings.merge_domain_config, Settings.default_algorithm):
        command = click.option(
            row.flag,
            type=_Text(row.name.lower(), row.parse),
            envvar=row.name,
            default=row.default,
            show_default=True,
            is_flag=False,
            flag_value="true" if row is Settings.merge_domain_config else None,
            metavar="VALUE",
            help=row.doc,
        )(command)
    return command


def _examples(*lines: str) -> str:
    """Make the end of a help page; click folds no paragraph that begins with this mark."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=_examples(
        "ratelimitd serve --config examples/policies",
        "ratelimitd validate examples/policies",
        "ratelimitd check -d shop user=alice",
        "ratelimitd simulate --config examples/policies -d shop user=alice --rate 20/s --for 2m",
    ),
)
@click.version_option(__version__, prog_name="ratelimitd")
def main() -> None:
    """The rate-limit service that stands next to Envoy: a drop-in for envoyproxy/ratelimit."""


@main.command(
    epilog=_examples(
        "ratelimitd serve --config policy.yaml",
        "ratelimitd serve --config policies/ --redis-url redis:6379 --grpc-port 18081",
        "RUNTIME_ROOT=/data RUNTIME_SUBDIRECTORY=ratelimit ratelimitd serve",
    )
)
@click.option("--config", type=click.Path(), multiple=True, metavar="PATH", help="Policy file or folder.")
@_settings_flags
def serve(config: tuple[str, ...], **flags: str | None) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Every flag but --config is also an environment variable (--grpc-port is GRPC_PORT); the flag wins. Counters live in
    memory, or in Redis when its address is given.
    """
    settings = _settings(flags)
    from ratelimitd.app import run  # noqa: PLC0415  the whole service, which no other command needs

    sys.exit(run(settings, config))


def _settings(flags: Mapping[str, str | None]) -> Settings:
    """Read the settings, or end with every problem there is."""
    try:
        return load(os.environ, {name.upper(): value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"ratelimitd: {problem}", err=True)
        sys.exit(ERROR)


@main.command(
    epilog=_examples(
        "ratelimitd proxy                                          # :8080 before http://localhost:8081",
        "LISTEN_ADDR=:80 DOWNSTREAM_URL=http://app:8000 ratelimitd proxy",
        "ratelimitd proxy --print-config > gateway.yaml",
        "ratelimitd proxy --config gateway.yaml --redis-addr localhost:6379",
    )
)
@click.option("--config", type=click.Path(), metavar="FILE", help="Gateway file; without one a default is used.")
@click.option("--print-config", is_flag=True, help="Print the default file, to be edited.")
@click.option("--with-service", is_flag=True, help="Serve the same policies to Envoy too, as `serve` does.")
@_settings_flags
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


@main.command(
    epilog=_examples(
        "ratelimitd validate policy.yaml",
        "ratelimitd validate policies/ --json",
    )
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@_policy_flags
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def validate(
    paths: tuple[Path, ...],
    default_algorithm: str,
    merge_domain_config: bool,  # noqa: FBT001  click calls it by name
    as_json: bool,  # noqa: FBT001  click calls it by name
) -> None:
    """Check policy files; all files of one call are one configuration.

    Prints a summary and exits 0, or prints every error, one a line, and exits 1.
    """
    parsed = _examine(paths, default_algorithm, merge_domains=merge_domain_config)
    click.echo(_validated_json(parsed) if as_json else _validated(parsed))
    sys.exit(1 if parsed.errors else OK)


@main.command(
    epilog=_examples(
        "ratelimitd check -d shop user=alice",
        "ratelimitd check -d shop tenant=acme,path=/checkout user=alice --hits 5",
        "ratelimitd check -d shop user=alice --address ratelimitd:8081 --json",
        r"ratelimitd check -d shop 'path=/a\,b'    a comma in a value is \, and a backslash \\",
    )
)
@click.option("-d", "--domain", required=True, type=_Text("domain", encode), help="Domain to ask in.")
@click.argument(
    "descriptors",
    nargs=-1,
    required=True,
    type=_Text("descriptor", parse_descriptor),
    metavar="KEY=VALUE[,KEY=VALUE]...",
)
@click.option(
    "--hits", type=click.IntRange(0, (1 << 32) - 1), help="Cost of each descriptor; 0 only looks. [default: 1]"
)
@click.option("--address", default="localhost:8081", show_default=True, metavar="HOST:PORT", help="Of the service.")
@click.option(
    "--timeout", type=_Text("duration", positive_duration), default=TIMEOUT, show_default=True, help="For the answer."
)
@click.option("--json", "as_json", is_flag=True, help="Print the response as protobuf's JSON.")
def check(
    domain: bytes,
    descriptors: tuple[Entries, ...],
    hits: int | None,
    address: str,
    timeout: float,
    as_json: bool,  # noqa: FBT001  click calls it by name
) -> None:
    """Ask a running service once. Exits 0 for OK, 1 for OVER_LIMIT, 2 for an error.

    Each argument is one descriptor.
    """
    from ratelimitd import client  # noqa: PLC0415  grpcio, which takes most of a second to import

    try:
        response = client.check(address, domain, descriptors, hits, timeout)
    except client.CheckError as error:
        click.echo(f"ratelimitd: {error}", err=True)
        sys.exit(ERROR)
    overall = client.overall(response)
    if as_json:
        click.echo(client.as_json(response))
    else:
        for code, sentence in client.lines(response, descriptors):
            click.echo(f"{click.style(f'{code:<10}', fg=COLOURS.get(code))} {sentence}")
        click.echo(f"overall: {click.style(overall, fg=COLOURS.get(overall), bold=True)}")
    sys.exit(OK if overall == "OK" else OVER_LIMIT)


@main.command(
    epilog=_examples(
        "ratelimitd simulate --config policy.yaml -d shop user=alice --rate 20/s --for 2m",
        "ratelimitd simulate --config policy.yaml -d shop user=alice --rate 2/s --for 5m --poisson \\",
        "    --compare fixed_window,sliding_window,token_bucket --plot compare.png",
        "ratelimitd simulate --config policy.yaml -d shop --requests requests.jsonl --json",
    )
)
@click.option("--config", required=True, multiple=True, type=_PATHS, metavar="PATH", help="Policy file or folder.")
@click.option("-d", "--domain", required=True, type=_Text("domain", encode), help="Domain to ask in.")
@click.argument(
    "descriptors", nargs=-1, type=_Text("descriptor", parse_descriptor), metavar="[KEY=VALUE[,KEY=VALUE]...]..."
)
@click.option("--requests", type=click.File("rb"), metavar="FILE", help="JSON lines to replay; - is standard input.")
@click.option(
    "--rate", type=_Text("rate", _rate), metavar="N/s", help="Generate requests like the arguments at this rate."
)
@click.option("--for", "span", type=_Text("duration", positive_duration), metavar="DURATION", help="For so long.")
@click.option("--poisson", is_flag=True, help="Random gaps instead of even ones.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random gaps.")
@click.option("--hits", type=click.IntRange(0, (1 << 32) - 1), help="Cost of each descriptor. [default: 1]")
@click.option(
    "--compare",
    type=_Text("algorithms", _algorithms),
    metavar="A,B...",
    help="Give every limit each of these algorithms in turn, side by side.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png", help="Draw it too.")
@_policy_flags
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(**options: Any) -> None:
    """Show what a policy would do, on simulated time: no service, no waiting.

    The requests are a load made of the arguments (--rate and --for), or a file of JSON lines (--requests), each with
    time in seconds or RFC 3339: {"time": 0.5, "descriptors": [{"user": "alice"}], "hits": 1}
    """
    from ratelimitd import simulate as simulation  # noqa: PLC0415  rich and the engine

    try:
        runs = _runs(**options)
        if options["plot"]:
            _plot(runs, options["plot"])
    except (simulation.LoadError, simulation.SimulationError) as error:
        raise click.ClickException(str(error)) from error
    if options["as_json"]:
        click.echo(simulation.as_json(runs))
        return
    simulation.show(runs)


def _runs(*, domain: bytes, config: Sequence[Path], compare: list[str] | None, **options: Any) -> list["Run"]:
    """Decide every request once for each algorithm, or once as the policy says."""
    from ratelimitd import simulate as simulation  # noqa: PLC0415  rich and the engine
    from ratelimitd.policy import assemble  # noqa: PLC0415  the engine

    events = _events(**options)
    parsed = _examine(config, options["default_algorithm"], merge_domains=options["merge_domain_config"])
    if parsed.errors:
        raise click.ClickException("\n".join(map(str, parsed.errors)))
    if not compare:
        return [simulation.run("as configured", assemble(parsed.rows), domain, events)]
    return [
        simulation.run(name, simulation.with_algorithm(parsed.rows, domain, name), domain, events)
        for name in dict.fromkeys(compare)
    ]


def _events(
    *, descriptors: Sequence[Entries], requests: Iterable[bytes] | None, hits: int | None, **options: Any
) -> Sequence["Event"]:
    from ratelimitd import simulate as simulation  # noqa: PLC0415  rich and the engine

    rate, span = options["rate"], options["span"]
    if requests is not None:
        if descriptors or rate or span or hits is not None:
            raise click.UsageError("--requests brings its own descriptors, times and hits: leave the others out")
        events: Iterable[Event] = simulation.from_lines(requests)
    elif not (descriptors and rate and span):
        raise click.UsageError("name the requests: KEY=VALUE with --rate and --for, or --requests FILE")
    elif options["poisson"]:
        events = simulation.poisson(descriptors, rate, span, hits, options["seed"])
    else:
        events = simulation.evenly(descriptors, rate, span, hits)
    made = list(events)
    if not made:
        raise click.ClickException("there are no requests to simulate")
    return made


def _plot(runs: "list[Run]", file: Path) -> None:
    try:
        from ratelimitd.simulate.plot import plot  # noqa: PLC0415  matplotlib, which is an extra
    except ModuleNotFoundError as error:
        raise click.ClickException("--plot needs matplotlib: pip install 'ratelimitd[plot]'") from error
    try:
        plot(runs, file)
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror}") from error


def _examine(paths: Iterable[Path], default_algorithm: str, *, merge_domains: bool) -> "Parsed":
    from ratelimitd.policy import Parsed, PolicyErrors, Summary, examine  # noqa: PLC0415  the engine
    from ratelimitd.sources.files import Paths, read_files, tiers_beside  # noqa: PLC0415  the engine

    source = Paths(tuple(map(str, paths)))
    try:
        files = read_files(source)
    except PolicyErrors as error:
        return Parsed([], list(error.errors), [], Summary(0, 0, 0))
    return examine(files, default_algorithm=default_algorithm, merge_domains=merge_domains, beside=tiers_beside(source))


def _validated(parsed: "Parsed") -> str:
    if parsed.errors:
        return "\n".join(map(str, parsed.errors))
    counted = zip(parsed.summary._fields, parsed.summary, strict=True)
    counts = ", ".join(f"{count} {name.removesuffix('s') if count == 1 else name}" for name, count in counted)
    return "\n".join([*(f"warning: {warning}" for warning in parsed.warnings), f"ok: {counts}"])


def _validated_json(parsed: "Parsed") -> str:
    value = {
        "ok": not parsed.errors,
        "errors": [error._asdict() for error in parsed.errors],
        "warnings": [warning._asdict() for warning in parsed.warnings],
        **({} if parsed.errors else parsed.summary._asdict()),
    }
    return json.dumps(value, indent=2)
