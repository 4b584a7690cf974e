"""``ratelimitd completion``: in the shells themselves, with a Tab as a user types it."""

import os
import shutil
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner

from ratelimitd.cli import main
from tests.terminal.serving import Terminal

pytestmark = pytest.mark.process

SHELLS = ["bash", "zsh", "fish"]

WORDS = [
    ("ratelimitd val", "validate"),
    ("ratelimitd top --so", "--sort"),
    ("ratelimitd top --sort den", "denied"),
    ("ratelimitd completion fi", "fish"),
    ("ratelimitd serve --default-algorithm sliding_window_c", "sliding_window_counter"),
    ("ratelimitd validate --default-algorithm tok", "token_bucket"),
    ("ratelimitd serve --log-dec", "--log-decisions"),
]


def script(shell):
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture
def home(tmp_path):
    """A folder with the program and the scripts."""
    program = tmp_path / "bin" / "ratelimitd"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom ratelimitd.cli import main\nmain()\n")
    program.chmod(0o755)
    for shell in SHELLS:
        (tmp_path / f"script.{shell}").write_text(script(shell))
    return tmp_path


def need(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


COMMANDS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}

SETUP = {
    "bash": "PS1='ready> '; . {home}/script.bash\n",
    "zsh": "PS1='ready> '; autoload -U compinit; compinit -u -D; . {home}/script.zsh\n",
    "fish": "function fish_prompt; echo 'ready> '; end; source {home}/script.fish\n",
}


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_tab_completes(shell, home):
    """Commands, options, and values of options: those of click and of our own parsers."""
    need(shell)
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    with closing(Terminal(COMMANDS[shell], 200, 24, PATH=path, HOME=str(home), TERM="vt100")) as terminal:
        terminal.type(SETUP[shell].format(home=home))
        terminal.type("echo set''up\n")
        await terminal.wrote(b"setup\r\n")
        for at, (words, completed) in enumerate(WORDS):
            terminal.written = b""
            terminal.type(f"{words}\t")
            await terminal.wrote(completed.removeprefix(words.rpartition(" ")[2]).encode())
            terminal.type("\x15")
            terminal.type(f"echo nex''t{at}\n")
            await terminal.wrote(b"next%d\r\n" % at)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_names_the_program_and_its_variable(shell):
    """Those of the installed command, however this was run."""
    assert "_RATELIMITD_COMPLETE" in script(shell)
    assert "ratelimitd" in script(shell)


def test_help_says_where_the_script_goes():
    """For each shell."""
    told = CliRunner().invoke(main, ["completion", "--help"]).stdout
    for place in ("bash-completion/completions/ratelimitd", "_ratelimitd", ".config/fish/completions/ratelimitd.fish"):
        assert place in told
