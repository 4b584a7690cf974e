"""``ratelimitd simulate``."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from ratelimitd.config.values import UINT32_MAX, positive_duration
from ratelimitd.descriptor_text import Entries, encode
from ratelimitd.descriptor_text import parse as parse_descriptor
from ratelimitd.descriptor_text import show as show_descriptor
from ratelimitd.settings import Settings

from .answers import ABOUT_ANSWERS, answers_flags, drawn, parsed_list, show_answers
from .flags import HITS_HELP, Text, examined, examples, policy_flags

if TYPE_CHECKING:
    from ratelimitd.policy import Row
    from ratelimitd.simulate import Event, Run

_UNITS: Final = {"s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}

_REQUESTS: Final = ("requests", "rate", "poisson", "hits")
"""Options about requests that cost what they ask for; those about answers are in ``answers``."""


def _rate(text: str) -> float:
    """Parse ``20/s``, ``100/minute`` or a plain number, which is per second."""
    amount, _, unit = text.partition("/")
    try:
        rate = float(amount) / _UNITS[unit or "s"]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate <= 1e9:
        raise ValueError("not a rate: write one like 20/s, 100/m, 5/h")
    return rate


def _algorithm(text: str) -> str:
    """Parse an algorithm to compare; a design is for answers."""
    from ratelimitd.simulate.answers import design  # noqa: PLC0415 -- rich and the engine

    try:
        return str(Settings.default_algorithm.parse(text))
    except ValueError:
        with suppress(ValueError):
            design(text)
            raise click.UsageError(f"--compare {text} needs --callers: only answers are paid for afterwards") from None
        raise


def _descriptor_or_path(text: str) -> Entries | str:
    """Parse a descriptor, or return the path of a policy, which has no ``=``."""
    if "=" not in text and Path(text).exists():
        return text
    try:
        return parse_descriptor(text)
    except ValueError as error:
        raise ValueError(str(error) if "=" in text else f"{error}; there is no policy file {text!r} either") from None


@click.command(
    epilog=examples(
        "ratelimitd simulate policy.yaml -d shop user=alice --rate 20/s --for 2m",
        "ratelimitd simulate --config policy.yaml -d shop user=alice --rate 2/s --for 5m --poisson \\",
        "    --compare fixed_window,sliding_window,token_bucket --plot compare.png",
        "ratelimitd simulate --config policy.yaml -d shop --requests requests.jsonl --json",
        "ratelimitd simulate --budget 100000/10m --callers 50 --for 1h --plot budget.svg",
    )
)
@click.option(
    "--config",
    multiple=True,
    type=click.Path(exists=True),
    metavar="PATH",
    help="Policy file or folder, or a gateway file, as the argument without '='.",
)
@click.option("-d", "--domain", type=Text("domain", encode), help="Domain of the descriptors.")
@click.argument(
    "words",
    nargs=-1,
    type=Text("descriptor", _descriptor_or_path),
    metavar="[PATH]... [KEY=VALUE[,KEY=VALUE]...]...",
)
@click.option("--requests", type=click.File("rb"), metavar="FILE", help="JSON lines to replay; - is standard input.")
@click.option(
    "--rate", type=Text("rate", _rate), metavar="N/s", help="Generate requests with the given descriptors at this rate."
)
@click.option(
    "--for",
    "span",
    type=Text("duration", positive_duration),
    metavar="DURATION",
    help="Length of the generated load.",
)
@click.option("--poisson", is_flag=True, help="Random intervals (a Poisson process) instead of even ones.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random intervals.")
@click.option("--hits", type=click.IntRange(0, UINT32_MAX), help=HITS_HELP)
@click.option(
    "--compare",
    metavar="A,B...",
    help="Simulate every limit with each of these algorithms, and show the results side by side. With --callers also "
    "before, after, reserve, reserve=AMOUNT, start=AMOUNT, ttl=DURATION, lease, or several of them joined by +.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also plot to this file: SVG if its name ends with .svg, else PNG.",
)
@answers_flags
@policy_flags
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(**options: Any) -> None:
    """Show the decisions of a policy in simulated time, without a service and without waiting.

    The requests are generated from the arguments (--rate and --for), or read from a file of JSON lines (--requests),
    each with a time in seconds or RFC 3339: {"time": 0.5, "descriptors": [{"user": "alice"}], "hits": 1}

    With --callers, answers are simulated that are paid for afterwards, as those of language models are.
    """
    from ratelimitd import simulate as simulation  # noqa: PLC0415 -- the engine
    from ratelimitd.simulate import report  # noqa: PLC0415 -- rich

    try:
        if options["callers"]:
            _refuse(_REQUESTS, "--callers generates the questions")
            show_answers(**options, subject=_subject(**options), rows=_rows)
            return
        _refuse(ABOUT_ANSWERS, "there are no answers without --callers")
        runs = _runs(**options)
        if options["plot"]:
            drawn("ratelimitd.simulate.plot", runs, _subject(**options), options["plot"])
    except (simulation.LoadError, simulation.SimulationError) as error:
        raise click.ClickException(str(error)) from error
    if options["as_json"]:
        click.echo(report.as_json(runs))
        return
    report.show(runs)


def _refuse(names: Iterable[str], why: str) -> None:
    """Raise UsageError if an option was given that has no effect."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{why}: remove --{name.replace('_', '-')}")


def _runs(*, domain: bytes | None, compare: str | None, words: Sequence[Entries | str], **options: Any) -> list["Run"]:
    """Decide every request once per algorithm to compare, or once as configured."""
    from ratelimitd import simulate as simulation  # noqa: PLC0415 -- the engine
    from ratelimitd.policy import assemble  # noqa: PLC0415 -- the engine

    names = parsed_list(compare, _algorithm)
    events = _events(descriptors=[word for word in words if not isinstance(word, str)], **options)
    rows, domain = _rows(words=words, domain=domain, **options)
    if not names:
        return [simulation.run("as configured", assemble(rows), domain, events)]
    return [simulation.run(name, simulation.with_algorithm(rows, domain, name), domain, events) for name in names]


def _rows(
    *, words: Sequence[Entries | str], config: Sequence[str], domain: bytes | None, **options: Any
) -> tuple[list["Row"], bytes]:
    """Return the policy that is given, and the domain of it. Its warnings are shown."""
    paths = (*(word for word in words if isinstance(word, str)), *config)
    if not paths:
        raise click.UsageError("no policy is given: write a policy file, a folder of them, or a gateway file")
    if domain is None:
        raise click.UsageError("no domain is given: write -d DOMAIN, the domain of the descriptors")
    found = examined(
        paths,
        options["default_algorithm"],
        merge_domains=options["merge_domain_config"],
        most=options["policy_max_bytes"],
        overlay=options["policy_overlay"],
    )
    parsed = found.parsed
    if parsed.errors:
        raise click.ClickException("\n".join(map(str, parsed.errors)))
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    return parsed.rows, domain


def _events(
    *, descriptors: Sequence[Entries], requests: Iterable[bytes] | None, hits: int | None, **options: Any
) -> Sequence["Event"]:
    from ratelimitd import simulate as simulation  # noqa: PLC0415 -- the engine

    rate, span = options["rate"], options["span"]
    if requests is not None:
        if descriptors or rate or span or hits is not None:
            raise click.UsageError(
                "--requests provides the descriptors, times and hits: remove KEY=VALUE, --rate, --for and --hits"
            )
        events: Iterable[Event] = simulation.from_lines(requests)
    elif not (descriptors and rate and span):
        raise click.UsageError("no requests given: write KEY=VALUE with --rate and --for, or --requests FILE")
    elif options["poisson"]:
        events = simulation.poisson(descriptors, rate, span, hits, options["seed"])
    else:
        events = simulation.evenly(descriptors, rate, span, hits)
    made = list(events)
    if not made:
        raise click.ClickException("there are no requests to simulate")
    return made


def _subject(*, domain: bytes | None, words: Sequence[Entries | str], requests: Any, **_: Any) -> str:
    """Return what the requests were: their domain, and their descriptors or the file."""
    descriptors = [show_descriptor(word) for word in words if not isinstance(word, str)]
    what = f"requests of {requests.name}" if requests is not None else " ".join(descriptors)
    return f"{(domain or b'').decode(errors='replace')}: {what}"
