"""``ratelimitd validate``."""

import json
import sys
from typing import TYPE_CHECKING

import click

from .flags import OK, config_paths, examined, examples, keys_flag, policy_flags

if TYPE_CHECKING:
    from ratelimitd.sources import Examined


@click.command(
    epilog=examples(
        "ratelimitd validate policy.yaml",
        "ratelimitd validate policies/ --json",
        "ratelimitd validate gateway.yaml --strict",
    )
)
@config_paths("Policy file or folder, or a gateway file, as the argument.", exist=False)
@policy_flags
@keys_flag
@click.option("--with-service", is_flag=True, help="With a gateway file: also check the service's ports, as for proxy.")
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def validate(
    config: tuple[str, ...],
    default_algorithm: str,
    merge_domain_config: bool,
    fixed_window_keys: str,
    policy_max_bytes: int,
    with_service: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Validate policy files; all given files form one configuration.

    Prints warnings and a summary and exits 0, or prints all errors, one per line, and exits 1. A warning is about what
    is valid and probably not meant; docs/lint.md describes each one, and how a comment in the file turns it off.
    """
    if not config:
        raise click.UsageError("no path is given: write a policy file, a folder of them, or a gateway file")
    found = examined(
        config,
        default_algorithm,
        merge_domains=merge_domain_config,
        with_service=with_service,
        fixed_window_keys=fixed_window_keys,
        most=policy_max_bytes,
    )
    well = not found.parsed.errors and not (strict and found.warnings)
    click.echo(_validated_json(found, well=well) if as_json else _validated(found))
    sys.exit(OK if well else 1)


def _validated(found: "Examined") -> str:
    parsed = found.parsed
    if parsed.errors:
        return "\n".join(map(str, parsed.errors))
    counted = zip(parsed.summary._fields, parsed.summary, strict=True)
    counts = ", ".join(f"{count} {name.removesuffix('s') if count == 1 else name}" for name, count in counted)
    return "\n".join([*(f"warning: {warning}" for warning in found.warnings), f"ok: {counts}"])


def _validated_json(found: "Examined", *, well: bool) -> str:
    parsed = found.parsed
    value = {
        "ok": well,
        "errors": [error._asdict() for error in parsed.errors],
        "warnings": [warning._asdict() for warning in found.warnings],
        **({} if parsed.errors else parsed.summary._asdict()),
    }
    return json.dumps(value, indent=2)
