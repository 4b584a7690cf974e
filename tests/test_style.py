"""What all tests have in common, and no linter holds."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/tests/**/*.py")])


def functions(file):
    return [
        each
        for each in ast.walk(ast.parse(file.read_text()))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_signatures_carry_no_annotations(file):
    """mypy reads the package, testkit and bench, but no tests: an annotation here would be a claim without a check."""
    for function in functions(file):
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        assert function.returns is None, function.name
        assert not [each.arg for each in named if each is not None and each.annotation is not None], function.name


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_test_states_its_promise(file):
    """Each test has a docstring."""
    assert [
        each.name for each in functions(file) if each.name.startswith("test_") and not ast.get_docstring(each)
    ] == []
