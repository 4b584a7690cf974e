"""``ratelimitd completion``."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from .flags import examples

PROGRAM: Final = "ratelimitd"

VARIABLE: Final = "_RATELIMITD_COMPLETE"
"""Set by the scripts; click derives it from the name of the program."""


@click.command(
    epilog=examples(
        "ratelimitd completion bash > ~/.local/share/bash-completion/completions/ratelimitd",
        'ratelimitd completion zsh > "${fpath[1]}/_ratelimitd"    # before compinit is called',
        "ratelimitd completion fish > ~/.config/fish/completions/ratelimitd.fish",
        'eval "$(ratelimitd completion bash)"                     # for this shell alone; zsh: the same after compinit',
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and their values in a shell.

    Bash needs version 4.4 or later, and reads the file at the first Tab if the package bash-completion is installed.
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.ClickException(f"click has no completion for {shell}")
    click.echo(made(context.find_root().command, {}, PROGRAM, VARIABLE).source(), nl=False)
