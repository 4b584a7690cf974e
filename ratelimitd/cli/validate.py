"""``ratelimitd validate``."""

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from .flags import OK, config_paths, examined, examples, keys_flag, policy_flags, without_policy

if TYPE_CHECKING:
    from ratelimitd.sources import Examined

ALONE: Final = "the overlay; with a policy, validate also says what its entries are for"


@click.command(
    epilog=examples(
        "ratelimitd validate policy.yaml",
        "ratelimitd validate policies/ --json",
        "ratelimitd validate gateway.yaml --strict",
        "ratelimitd validate --overlay overlay.yaml",
    )
)
@config_paths("Policy file or folder, or a gateway file, as the argument.", exist=False)
@policy_flags
@keys_flag
@click.option("--with-service", is_flag=True, help="With a gateway file: also check the service's ports, as for proxy.")
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def validate(config: tuple[str, ...], with_service: bool, strict: bool, as_json: bool, **options: Any) -> None:
    """Validate policy files; all given files form one configuration. Without any, validate the overlay alone.

    Prints warnings and a summary and exits 0, or prints all errors, one per line, and exits 1. A warning is about what
    is valid and probably not meant; docs/lint.md describes each one, and how a comment in the file turns it off.
    """
    overlay = options["policy_overlay"]
    if not config and not overlay:
        raise click.UsageError("no path is given: write a policy file, a folder of them, or a gateway file")
    found = _examined(config, with_service=with_service, **options) if config else _alone(overlay)
    well = not found.parsed.errors and not (strict and found.warnings)
    counts = _counts(found) if config else ALONE
    click.echo(_validated_json(found, well=well) if as_json else _validated(found, counts))
    sys.exit(OK if well else 1)


def _examined(config: tuple[str, ...], *, with_service: bool, **options: Any) -> "Examined":
    return examined(
        config,
        options["default_algorithm"],
        merge_domains=options["merge_domain_config"],
        with_service=with_service,
        fixed_window_keys=options["fixed_window_keys"],
        most=options["policy_max_bytes"],
        overlay=options["policy_overlay"],
    )


def _alone(overlay: str) -> "Examined":
    """Read an overlay without a policy, as that of a control plane is not at hand."""
    from ratelimitd.sources import OverlayFile, find_overlay  # noqa: PLC0415 -- the engine

    return without_policy(find_overlay(OverlayFile(overlay)).faults)


def _counts(found: "Examined") -> str:
    summary = found.parsed.summary
    counted = zip(summary._fields, summary, strict=True)
    return ", ".join(f"{count} {name.removesuffix('s') if count == 1 else name}" for name, count in counted)


def _validated(found: "Examined", counts: str) -> str:
    if found.parsed.errors:
        return "\n".join(map(str, found.parsed.errors))
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
