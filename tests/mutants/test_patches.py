"""Every mutant is one that ``make mutants`` can try; that each is noticed takes minutes, and is seen there."""

import pytest

from tests.collected import ROOT, collected
from tests.mutants.run import ALL_PASSED, SOME_FAILED, Run, mutants, problem, refusal

ALL = mutants()


def test_there_are_mutants():
    """A dozen guards at least."""
    assert len(ALL) >= 12


@pytest.mark.process
@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.patch.stem)
def test_a_patch_applies(mutant):
    """As the program is now; one that does not has to be made anew."""
    assert not refusal(mutant.patch, ROOT, "--check")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.patch.stem)
def test_its_tests_exist(mutant):
    """It says which guard it removes, and names one test at least, all of which there are."""
    assert mutant.guard
    assert mutant.tests
    assert set(mutant.tests) <= collected().keys()


def verdict(code, **cases):
    """What is wrong with a mutant under which the cases of a test came to this."""
    return problem(
        Run(code, {f"t[{name}]": fate for name, fate in cases.items()}, "text"), SOME_FAILED, "failed", ["t"]
    )


def test_a_mutant_is_killed_by_a_failed_case():
    """One case is enough, whatever became of the others."""
    assert not verdict(SOME_FAILED, a="passed", b="failed", c="error")


@pytest.mark.parametrize("fate", ["passed", "error", "skipped"])
def test_nothing_else_kills_a_mutant(fate):
    """A test that passes, could not be set up, was skipped or never ran has not noticed anything."""
    assert fate in verdict(SOME_FAILED, a=fate)
    assert "not run" in verdict(SOME_FAILED)


def test_a_run_that_came_to_nothing_kills_no_mutant():
    """An error of collection, a time that ran out, a patch that does not apply: what was printed is told."""
    assert verdict(2, a="failed") == verdict(-1, a="failed") == "text"
    assert verdict(ALL_PASSED, a="failed") == "text"
