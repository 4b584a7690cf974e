"""docs/lint.md has every rule with an example, and nothing that people read is faulted."""

import re
import textwrap

import pytest
import yaml

from ratelimitd.gateway import default_file
from ratelimitd.lint import RULES
from tests.lint.linting import ROOT, linted, linted_text

PAGE = ROOT / "docs" / "lint.md"
EXAMPLES = ROOT / "examples"
FOLDER = EXAMPLES / "policies"
FILES = sorted(
    path
    for path in EXAMPLES.rglob("*.yaml")
    if path.parent != FOLDER and {"domain", "policies"} & set(yaml.safe_load(path.read_text()))
)
SECTION = re.compile(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(yaml|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = dict(SECTION.findall(PAGE.read_text()))
TIERS = "premium: [some-key]\n"


def lines(text):
    """Lines of text, whatever their breaks."""
    return " ".join(text.split())


def blocks_of(page):
    """Its policies and gateway files in YAML, except the faulty ones of docs/lint.md, and lists, which are Envoy's."""
    text = page.read_text()
    text = SECTION.sub("", text) if page == PAGE else text
    found = (textwrap.dedent(block) for kind, block in BLOCK.findall(text) if kind == "yaml")
    loaded = ((block, yaml.safe_load(block)) for block in found)
    return [block for block, read in loaded if isinstance(read, dict) and {"domain", "policies"} & read.keys()]


def documented():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    return [
        pytest.param(block, id=f"{page.name}-{turn}") for page in pages for turn, block in enumerate(blocks_of(page))
    ]


def config_maps():
    for path in sorted((ROOT / "k8s").glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest and manifest["kind"] == "ConfigMap":
                for name, text in manifest["data"].items():
                    if "static_resources" not in text:
                        yield pytest.param(text, id=f"{path.name}-{name}")


def test_the_page_has_every_rule():
    """In the order of the table, and no other."""
    assert list(SECTIONS) == list(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_an_example_makes_the_lint_say_what_the_page_says(rule, tmp_path):
    """The YAML of a rule's section has that fault once, with the line and the texts that follow it.

    A second file in YAML is an overlay.
    """
    *files, (_, text) = BLOCK.findall(SECTIONS[rule])
    (warning,) = (each for each in linted_text(tmp_path, *(file for _, file in files)) if each.rule == rule)
    assert lines(text) == lines(f"line {warning.line}: {warning.message} {warning.remedy}")


@pytest.mark.parametrize("block", documented())
def test_the_lint_is_silent_on_the_documentation(block, tmp_path):
    """Every policy and gateway file of README and docs."""
    (tmp_path / "keys.yaml").write_text(TIERS)
    assert linted_text(tmp_path, block) == []


@pytest.mark.parametrize("path", [*FILES, FOLDER], ids=lambda path: path.stem)
def test_the_lint_is_silent_on_the_examples(path):
    """Each gateway file and policy, and the folder of policies as one."""
    assert linted(path) == []


@pytest.mark.parametrize("text", list(config_maps()))
def test_the_lint_is_silent_on_the_manifests(text, tmp_path):
    """Every policy in a ConfigMap."""
    assert linted_text(tmp_path, text) == []


def test_the_lint_is_silent_on_the_built_in_gateway_file(tmp_path):
    """It is what a proxy without a file serves."""
    assert linted_text(tmp_path, default_file()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "envoy").glob("*.yaml")), ids=lambda path: path.name)
def test_every_bootstrap_is_made_of_a_file_the_lint_is_silent_on(path):
    """The first line of a bootstrap names its gateway file."""
    source = path.read_text().split()[3]
    assert linted(ROOT / source) == []
