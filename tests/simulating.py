"""The command simulate, as tests call it."""

from click.testing import CliRunner

from ratelimitd.cli import main

LOAD = ("-d", "shop", "user=alice", "--rate", "20/s", "--for", "10s")


def cli(*words, stdin=None):
    return CliRunner().invoke(main, ["simulate", *words], input=stdin)
