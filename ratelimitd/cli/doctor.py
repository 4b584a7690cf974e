"""``ratelimitd doctor``."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from ratelimitd.printable import printable

from .flags import OK, config_paths, examples, settings_flags

if TYPE_CHECKING:
    from ratelimitd.doctor import Finding

BAD: Final = 1

COLORS: Final = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command(
    epilog=examples(
        "ratelimitd doctor policies/",
        "REDIS_URL=redis:6379 ratelimitd doctor --config policies/ --strict",
        "ratelimitd doctor gateway.yaml --json",
    )
)
@config_paths("Policy file or folder, or a gateway file, as the argument.", exist=False)
@click.option("--with-service", is_flag=True, help="With a gateway file: also check the service's ports, as for proxy.")
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_flags
def doctor(
    config: tuple[str, ...],
    with_service: bool,
    strict: bool,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Check the settings, policy, Redis and ports that serve would use, and print what to change.

    Takes the environment and the flags of serve. Exits 0 if no finding is bad, 1 if one is, 2 on a usage error. It
    changes no limit's counters, and can run while a service is running.
    """
    from ratelimitd.doctor import Level, count, examine  # noqa: PLC0415 -- the whole service

    given = {name.upper(): value for name, value in flags.items() if value is not None}
    findings = examine(os.environ, given, config, with_service=with_service)
    warnings, wrong = count(findings, Level.WARN), count(findings, Level.BAD)
    well = not wrong and not (strict and warnings)
    if as_json:
        value = {"ok": well, "warnings": warnings, "bad": wrong, "findings": [each._asdict() for each in findings]}
        click.echo(json.dumps(value, indent=2))
    else:
        for line in _lines(findings):
            click.echo(line)
        total = f"{wrong} bad, {warnings} warning{'' if warnings == 1 else 's'}"
        click.echo(click.style(total, fg=COLORS[_worst(warnings, wrong)], bold=True))
    sys.exit(OK if well else BAD)


def _worst(warnings: int, wrong: int) -> str:
    return "bad" if wrong else "warn" if warnings else "ok"


def _lines(findings: "Sequence[Finding]") -> Iterator[str]:
    """Yield each subject once, followed by its findings, each with the proposed change."""
    subject = ""
    for finding in findings:
        if finding.subject != subject:
            subject = finding.subject
            yield click.style(subject, bold=True)
        yield f"  {click.style(f'{finding.level:<4}', fg=COLORS[finding.level])}  {printable(finding.found)}"
        if finding.change:
            yield f"        change: {printable(finding.change)}"
