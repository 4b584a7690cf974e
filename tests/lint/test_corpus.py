"""A corpus of faults: what each file has, and nothing else, is found in its line.

A comment ``# expect: RULE, RULE`` names what is wrong with its line. A folder is a gateway file with its policies, or a
policy with its overlay.
"""

import re

import pytest

from ratelimitd.lint import RULES
from tests.lint.linting import ROOT, linted

CORPUS = ROOT / "tests" / "lint" / "corpus"
CASES = sorted(path for path in CORPUS.iterdir() if path.is_dir() or path.suffix == ".yaml")
EXPECT = re.compile(r"# expect: (.+)$")


def expected(path):
    """(file, line, rule) of each fault of a file."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        named = EXPECT.search(line)
        for rule in named[1].split(", ") if named else ():
            yield path.name, number, rule


def files_of(case):
    return sorted(case.iterdir()) if case.is_dir() else [case]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_lint_finds_what_is_wrong(case):
    """In the files of one case."""
    names = {path.name for path in files_of(case)}
    source = case / ("gateway.yaml" if "gateway.yaml" in names else "policy.yaml") if case.is_dir() else case
    found = linted(source, overlay=case / "overlay.yaml" if "overlay.yaml" in names else None)
    wanted = sorted(each for file in files_of(case) for each in expected(file))
    assert sorted((each.file.rpartition("/")[2], each.line, each.rule) for each in found) == wanted


@pytest.mark.parametrize("rule", RULES)
def test_the_corpus_has_every_fault(rule):
    """At least once."""
    assert any(rule == each for case in CASES for file in files_of(case) for _, _, each in expected(file))
