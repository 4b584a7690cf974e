"""``ratelimitd validate``."""

import json
import sys
from typing import TYPE_CHECKING

import click

from .flags import OK, config_paths, examined, examples, policy_flags

if TYPE_CHECKING:
    from ratelimitd.policy_file import Parsed


@click.command(
    epilog=examples(
        "ratelimitd validate policy.yaml",
        "ratelimitd validate policies/ --json",
    )
)
@config_paths("Policy file or folder, or a gateway file, as the argument.", exist=False)
@policy_flags
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def validate(
    config: tuple[str, ...],
    default_algorithm: str,
    merge_domain_config: bool,  # noqa: FBT001 -- click passes keywords
    as_json: bool,  # noqa: FBT001 -- click passes keywords
) -> None:
    """Validate policy files; all given files form one configuration.

    Prints a summary and exits 0, or prints all errors, one per line, and exits 1.
    """
    if not config:
        raise click.UsageError("no path is given: write a policy file, a folder of them, or a gateway file")
    parsed = examined(config, default_algorithm, merge_domains=merge_domain_config)
    click.echo(_validated_json(parsed) if as_json else _validated(parsed))
    sys.exit(1 if parsed.errors else OK)


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
