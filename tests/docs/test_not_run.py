"""What stands in the blocks that are not run exists."""

import re

import pytest

from ratelimitd.cli import main as ratelimitd
from testkit.blocks import pages
from testkit.pasted import ROOT
from tests.docs.test_pasted import PAGES, commands
from tests.docs.words import EXTRAS, unknown

EXEMPT = [(page, block) for page in PAGES for block in commands(page) if block.kind == "not run"]


@pytest.mark.parametrize(("page", "block"), EXEMPT, ids=[f"{page}:{block.line}" for page, block in EXEMPT])
def test_a_block_that_is_not_run_names_what_exists(page, block):
    """Flags, sub-commands, targets of make, files, modules, extras and settings."""
    assert unknown(block.text) == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("make runn     # a comment", ["the target runn"]),
        ("ratelimitd validat policy.yaml", ["the command validat"]),
        ("ratelimitd serve --confg x", ["serve --confg"]),
        ("kubectl exec deployment/ratelimitd -- ratelimitd doctr", ["the command doctr"]),
        ("kubectl apply -f k8s/nothing.yaml", ["the file k8s/nothing.yaml"]),
        ("REDIS_URI=redis:6379 ratelimitd serve", ["the setting REDIS_URI"]),
        ("python -m bench --quik rls", ["main --quik"]),
        ("python -m bench rsl", ["main rsl"]),
        ("python -m banch", ["the module banch"]),
        ("pip install '.[envoi]' 'ratelimitd[plots]'", ["the extra envoi", "the extra plots"]),
        ("kubectl apply -k k8s/ && make", []),
    ],
)
def test_what_does_not_exist_is_found(line, wrong):
    """Each kind of word is looked up."""
    assert unknown(line) == wrong


INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*ratelimitd [a-z][^`]*)`")


@pytest.mark.parametrize("path", pages(ROOT), ids=lambda path: path.name)
def test_a_command_within_a_sentence_exists(path):
    """Sub-command, flags and settings; `…` and capitals stand for what the reader fills in."""
    if path.name != "CHANGELOG.md":
        commands = [" ".join(found.split()) for found in INLINE.findall(path.read_text())]
        assert {command: wrong for command in commands if (wrong := unknown(command))} == {}


def test_commands_that_the_program_names_exist():
    """In help, hints and errors."""
    sources = "\n".join(path.read_text() for path in (ROOT / "ratelimitd").rglob("*.py"))
    named = set(re.findall(r"`ratelimitd ([a-z]+)", sources))
    assert named >= {"serve", "proxy"}
    assert named - ratelimitd.commands.keys() == set()


def test_hints_name_extras_that_can_be_installed():
    """By the name of the package, which a reader of the hint installs."""
    sources = [path.read_text() for path in (ROOT / "ratelimitd").rglob("*.py")]
    hinted = re.findall(r"pip install '([^']*)'", "\n".join(sources))
    assert set(hinted) == {f"ratelimitd[{extra}]" for extra in EXTRAS}
