"""``ratelimitd diff``."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from .flags import ERROR, OK, examined, examples, keys_flag, policy_flags

if TYPE_CHECKING:
    from ratelimitd.policy import Change, Policy

DIFFERENT: Final = 1
"""Exit code, as that of diff(1)."""

COLORS: Final = {"added": "green", "removed": "red", "raised": "yellow", "lowered": "yellow", "restarted": "yellow"}

_PATH: Final = click.Path(exists=True)


@click.command(
    epilog=examples(
        "ratelimitd diff policies-of-today/ policies/",
        "ratelimitd diff gateway.yaml new-gateway.yaml --json",
        "git show HEAD:policy.yaml > /tmp/old.yaml && ratelimitd diff /tmp/old.yaml policy.yaml",
    )
)
@click.argument("old", type=_PATH, metavar="OLD")
@click.argument("new", type=_PATH, metavar="NEW")
@policy_flags
@keys_flag
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(
    old: str,
    new: str,
    default_algorithm: str,
    merge_domain_config: bool,
    fixed_window_keys: str,
    policy_max_bytes: int,
    policy_overlay: str,
    as_json: bool,
) -> None:
    """Say what differs between two policies: limits that are added, removed, raised, lowered, changed, or count anew.

    OLD and NEW are policy files, folders of them, or gateway files, of which the policies are compared; an overlay is
    applied to both. Exits 0 if nothing differs, 1 if something does, 2 if a policy has errors.
    """
    from ratelimitd.policy import changes  # noqa: PLC0415 -- the engine

    policies = [
        _policy(
            path,
            fixed_window_keys,
            default_algorithm=default_algorithm,
            merge_domains=merge_domain_config,
            most=policy_max_bytes,
            overlay=policy_overlay,
        )
        for path in (old, new)
    ]
    found = [change for some in changes(*policies) for change in some]
    click.echo(_as_json(found) if as_json else _text(found))
    sys.exit(DIFFERENT if found else OK)


def _policy(path: str, keys: str, **options: Any) -> "Policy":
    from ratelimitd.policy import FixedWindowKeys, assemble, with_keys  # noqa: PLC0415 -- the engine

    parsed = examined([path], **options).parsed
    for error in parsed.errors:
        click.echo(f"ratelimitd: {error}", err=True)
    if parsed.errors:
        sys.exit(ERROR)
    return assemble(with_keys(parsed.rows, FixedWindowKeys(keys)))


def _text(found: "Sequence[Change]") -> str:
    if not found:
        return "no limit differs"
    counts = Counter(change.kind for change in found)
    total = f"{len(found)} change{'' if len(found) == 1 else 's'}"
    lines = [f"{click.style(f'{each.kind:<8}', fg=COLORS.get(each.kind))} {each.place}: {each.what}" for each in found]
    return "\n".join([*lines, f"{total}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}"])


def _as_json(found: "Sequence[Change]") -> str:
    return json.dumps({"same": not found, "changes": [change._asdict() for change in found]}, indent=2)
