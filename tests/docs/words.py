"""The words of a block that is not run: each flag, file, sub-command and setting in it has to exist."""

import importlib.util
import re
import shlex
import tomllib

import click

from bench.__main__ import main as bench
from ratelimitd.cli import main as ratelimitd
from ratelimitd.settings import ROWS
from testkit.pasted import ROOT

SETTINGS = {row.name for row in ROWS}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def unknown(block):
    """Return what a block names and does not exist."""
    lines = block.replace("\\\n", " ").splitlines()
    return [wrong for line in lines for wrong in _unknown(shlex.split(line, comments=True))]


def _unknown(words):
    for number, word in enumerate(words):
        rest = words[number + 1 :]
        name, _, value = word.partition("=")
        if re.fullmatch(r"[A-Z][A-Z0-9_]+", name) and value and name not in SETTINGS:
            yield f"the setting {name}"
        if word == "make" and number == 0:
            yield from (f"the target {target}" for target in rest[:1] if target not in TARGETS)
        if word == "ratelimitd" and rest and number in {0, words.index("--") + 1 if "--" in words else 0}:
            yield from _command(ratelimitd, rest)
        if word == "-m" and words[number - 1].endswith("python"):
            yield from [] if importlib.util.find_spec(rest[0]) else [f"the module {rest[0]}"]
            yield from _options(bench, rest[1:]) if rest[0] == "bench" else ()
        if "/" in word and word.partition("/")[0] in FOLDERS and not (ROOT / word).exists():
            yield f"the file {word}"
        extras = re.findall(r"^(?:\.|ratelimitd)\[(\w+)\]$", word)
        yield from (f"the extra {extra}" for extra in extras if extra not in EXTRAS)


def _command(group, words):
    command = group.commands.get(words[0])
    if command is None:
        return [f"the command {words[0]}"]
    return _options(command, words[1:])


def _options(command, words):
    """Yield the flags that a command does not have, and the values that it does not take."""
    flags = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
    yield from (
        f"{command.name} {word}" for word in words if word.startswith("-") and word.partition("=")[0] not in flags
    )
    choices = [each.type.choices for each in command.params if isinstance(each.type, click.Choice)]
    if command is bench and choices:
        plain = [word for word in _before_redirection(words) if re.fullmatch(r"[a-z]+", word)]
        yield from (f"{command.name} {word}" for word in plain if word not in choices[0])


def _before_redirection(words):
    return words[: words.index(">")] if ">" in words else words
