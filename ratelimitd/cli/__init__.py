"""The command line: parses arguments and calls the package. Commands import lazily, to keep --help fast."""

import os

import click

from .check import check
from .completion import completion
from .diff import diff
from .doctor import doctor
from .envoy import envoy
from .flags import examples
from .schema import schema
from .serve import proxy, serve
from .simulate import simulate
from .top import top
from .upstream import ratelimit
from .validate import validate
from .version import version_text
from .watch import watch


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(version_text())
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=examples(
        "ratelimitd serve --config examples/policies",
        "ratelimitd validate examples/policies",
        "ratelimitd diff old-policies/ examples/policies",
        "ratelimitd check -d shop user=alice",
        "ratelimitd simulate --config examples/policies -d shop user=alice --rate 20/s --for 2m",
        "ratelimitd top --address localhost:6070",
        "ratelimitd watch --denied",
        "ratelimitd doctor --config examples/policies",
    ),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show version, commit, transport and extras, and exit.",
)
@click.pass_context
def main(context: click.Context) -> None:
    """Rate-limit service for Envoy: a drop-in replacement for envoyproxy/ratelimit."""
    if os.environ.get("NO_COLOR"):
        context.color = False


for command in (serve, proxy, envoy, validate, diff, check, simulate, doctor, top, watch, completion, ratelimit):
    main.add_command(command)

main.add_command(schema)
# envoyproxy/ratelimit's Compose file has `command: /bin/ratelimit`, which follows the image's entry point, ratelimitd.
main.add_command(ratelimit, "/bin/ratelimit")
