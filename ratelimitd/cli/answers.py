"""``ratelimitd simulate --callers``: answers that are paid for afterwards."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ratelimitd.config.values import UINT32_MAX, duration, positive_duration, ratio
from ratelimitd.descriptor_text import Entries

from .flags import Command, Text

if TYPE_CHECKING:
    from ratelimitd.simulate.answers import Distribution

Parsed = TypeVar("Parsed")

CALLERS_MAX: Final = 100_000
"""Each has random numbers of its own, of 3 kB."""

_DAYS: Final = {"d": 1, "day": 1, "w": 7, "week": 7, "month": 30, "year": 365}
"""As in a policy, which counts 30 days to a month."""

_TIMES: Final = {"second": "1s", "minute": "1m", "hour": "1h"}

_BUDGETS: Final = "write one like 100000/10m, 5000000/day, 40000000/month, 9000000/7d"


def _distribution(text: str) -> "Distribution":
    from ratelimitd.simulate.answers import distribution  # noqa: PLC0415 -- rich and the engine

    return distribution(text)


def _budget(text: str) -> tuple[int, int]:
    """Parse ``100000/10m``; return the amount, and the seconds."""
    amount, _, window = text.partition("/")
    try:
        tokens, seconds = int(amount), _window(window)
    except ValueError as error:
        raise ValueError(f"not a budget ({error}): {_BUDGETS}") from None
    if tokens < 1:
        raise ValueError(f"a budget is at least 1: {_BUDGETS}")
    if seconds % 1:
        raise ValueError(f"not a budget (its window has no whole seconds): {_BUDGETS}")
    return tokens, int(seconds)


def _window(text: str) -> float:
    """Parse a unit of a policy, a number of days or weeks, or a duration; return the seconds."""
    unit = text.lstrip("0123456789")
    count = text.removesuffix(unit)
    if unit in _DAYS and (not count or unit in ("d", "w")):
        text = f"{int(count or 1) * _DAYS[unit] * 24}h"
    return positive_duration(_TIMES.get(text, text))


_FLAGS: Final = (
    click.option(
        "--callers",
        type=click.IntRange(1, CALLERS_MAX),
        metavar="N",
        help="Simulate answers that are paid for afterwards: N callers in parallel, each of which asks with 0 hits, "
        "receives an answer as a stream, and reports its cost at the end. A denied caller waits as it is told to.",
    ),
    click.option(
        "--budget",
        type=Text("budget", _budget),
        metavar="N/DURATION",
        help="One limit for all callers, in place of a policy, such as 100000/10m.",
    ),
    click.option(
        "--answers",
        type=Text("distribution", _distribution),
        default="400,732,50..8000",
        show_default=True,
        metavar="DISTRIBUTION",
        help="Tokens of an answer: N, LEAST..MOST, MEDIAN,MEAN (log-normal), or MEDIAN,MEAN,LEAST..MOST.",
    ),
    click.option(
        "--pace",
        type=Text("distribution", _distribution),
        default="50,57,5..200",
        show_default=True,
        metavar="DISTRIBUTION",
        help="Tokens per second of a stream.",
    ),
    click.option(
        "--first-token",
        type=Text("duration", duration),
        default="500ms",
        show_default=True,
        metavar="DURATION",
        help="Time until a stream begins.",
    ),
    click.option(
        "--think",
        type=Text("duration", duration),
        default="1s",
        show_default=True,
        metavar="DURATION",
        help="Time between an answer and the next question of its caller.",
    ),
    click.option(
        "--hang-ups",
        type=Text("share", ratio),
        default="0.05",
        show_default=True,
        metavar="SHARE",
        help="Share of the answers during which the caller leaves.",
    ),
    click.option(
        "--substitute",
        type=click.IntRange(0, UINT32_MAX),
        default=700,
        show_default=True,
        metavar="N",
        help="Tokens that such an answer is charged; 0: it never settles.",
    ),
    click.option(
        "--lost",
        type=Text("share", ratio),
        default="0.01",
        show_default=True,
        metavar="SHARE",
        help="Share of the questions whose caller leaves before the decision: no answer follows, and nothing settles.",
    ),
)

ABOUT_ANSWERS: Final = (
    "budget", "answers", "pace", "first_token", "think", "hang_ups", "substitute", "lost",
)  # fmt: skip
"""Options that have an effect only with ``--callers``."""

COMPARED: Final = "token_bucket+before,after,reserve,reserve+lease"
"""Designs that ``--budget`` compares by default."""


def answers_flags(command: Command) -> Command:
    """Add the options about answers to a command."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def parsed_list(text: str | None, parse: Callable[[str], Parsed]) -> list[Parsed]:
    """Parse the value of ``--compare``, each item once. Raises BadParameter."""
    try:
        return [parse(name) for name in dict.fromkeys(name.strip() for name in (text or "").split(",") if text)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--compare'") from error


def drawn(module: str, runs: Sequence[Any], subject: str, file: Path) -> None:
    """Plot runs with ``plot`` of a module, which needs an extra."""
    try:
        plot = import_module(module).plot
    except ModuleNotFoundError as error:
        raise click.ClickException("--plot needs matplotlib; run pip install 'ratelimitd[plot]'") from error
    try:
        plot(runs, subject, file)
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror}") from error


def show_answers(
    *,
    words: Sequence[Entries | str],
    compare: str | None,
    budget: tuple[int, int] | None,
    span: float | None,
    rows: Callable[..., tuple[list[Any], bytes]],
    subject: str,
    **options: Any,
) -> None:
    """Simulate each design, and print a table or JSON. ``rows`` returns the policy that the options name."""
    from ratelimitd.simulate import answers as simulation  # noqa: PLC0415 -- rich and the engine

    if span is None:
        raise click.UsageError("--callers needs --for, the length of the simulated time")
    descriptors = [word for word in words if not isinstance(word, str)]
    if budget is not None:
        if words or options["config"] or options["domain"]:
            raise click.UsageError("--budget takes the place of a policy: remove the policy, -d and KEY=VALUE")
        compare = compare or COMPARED
        descriptors, domain, subject = [simulation.CALLERS], simulation.DOMAIN, f"{options['callers']} callers"
        made = simulation.rows_of(*budget, options["default_algorithm"])
    else:
        if not descriptors:
            raise click.UsageError("no descriptors are given: write KEY=VALUE, or --budget in place of a policy")
        made, domain = rows(words=words, **options)
    load = simulation.Load(options["callers"], span, *(options[name] for name in simulation.Load._fields[2:]))
    designs = parsed_list(compare, simulation.design) or [simulation.AS_CONFIGURED]
    policies = [simulation.policy_of(made, domain, design) for design in designs]
    runs = [
        simulation.run(design.name, simulation.Budget(policy, domain, descriptors, leases=design.leases), load)
        for design, policy in zip(designs, policies, strict=True)
    ]
    if options["plot"]:
        drawn("ratelimitd.simulate.answers.plot", runs, subject, options["plot"])
    if options["as_json"]:
        click.echo(simulation.as_json(runs, load))
    else:
        simulation.show(runs, load)
