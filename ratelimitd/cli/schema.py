"""``ratelimitd schema``."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import click

from .flags import examples

if TYPE_CHECKING:
    from ratelimitd.config.schema import Schema


def _policy() -> "Schema":
    from ratelimitd.policy_file.schema import policy_schema  # noqa: PLC0415 -- the engine

    return policy_schema()


def _gateway() -> "Schema":
    from ratelimitd.gateway.schema import gateway_schema  # noqa: PLC0415 -- the engine
    from ratelimitd.policy_file.schema import policy_definitions  # noqa: PLC0415 -- the engine

    return gateway_schema(policy_definitions())


def _overlay() -> "Schema":
    from ratelimitd.policy_file.schema import overlay_schema  # noqa: PLC0415 -- the engine

    return overlay_schema()


SCHEMAS: Final[Mapping[str, Callable[[], "Schema"]]] = {"policy": _policy, "gateway": _gateway, "overlay": _overlay}
"""By the kind of the file."""


@click.command(
    epilog=examples(
        "ratelimitd schema policy > policy.schema.json",
        "ratelimitd schema gateway > gateway.schema.json",
    )
)
@click.argument("kind", type=click.Choice([*SCHEMAS]))
def schema(kind: str) -> None:
    """Print the JSON Schema of policy files, gateway files or overlays, for editors.

    An editor with the YAML language server then completes keys, explains them and marks mistakes in a file with the
    comment "# yaml-language-server: $schema=policy.schema.json". `ratelimitd validate` checks what no schema can.
    """
    click.echo(schema_text(kind), nl=False)


def schema_text(kind: str) -> str:
    """Return the schema of a kind of file as it is printed."""
    return json.dumps(SCHEMAS[kind](), indent=2) + "\n"
