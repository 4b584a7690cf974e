"""``make mutants``: take one guard away after the other, and see that the tests that hold it notice.

Each ``*.patch`` of this folder removes one guard of the program. Its head says which (``guard:``) and which tests must
fail then (``fails:``, one a line, as pytest names them; without brackets: any of its cases). A patch is tried in a
copy, so that the tree stays as it is.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from ratelimitd.compiled import PURE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COPIED = (
    "ratelimitd",
    "testkit",
    "tests",
    "conftest.py",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "LICENSE.nghttp2",
    ".dockerignore",
    ".github",
    "Dockerfile",
    "image",
)
"""All that the named tests need; the built extension is in the package's folder, and built anew for its own patches."""

EXTENSION = re.compile(r"^--- a/\S+\.(pyx|pxd|pxi)$", re.MULTILINE)

PATIENCE = 120.0
"""Seconds for the tests of one mutant."""

WHOLE_PATIENCE = 900.0
"""Seconds for all tests that mutants name, of which some measure a service for seconds."""

HURRIED = re.compile(r"^PATIENCE = 30\.0$", re.MULTILINE), "PATIENCE = 5.0"
"""Seconds until a test that waits fails: with a patch most of them will, and nothing in them is so slow without."""

ALL_PASSED, SOME_FAILED = 0, 1
"""Exit codes of pytest."""


class Mutant(NamedTuple):
    """A patch, the guard that it removes, and the tests that must fail without that."""

    patch: Path
    guard: str
    tests: tuple[str, ...]


class Run(NamedTuple):
    """What pytest made of some tests: its exit code, each case with what became of it, and what it printed."""

    code: int
    cases: dict[str, str]
    text: str

    def fate(self, test):
        """What became of a test, by the worst of its cases."""
        fates = {fate for case, fate in self.cases.items() if test in (case, case.partition("[")[0])}
        return next((fate for fate in ("failed", "error", "skipped", "passed") if fate in fates), "not run")


def read(patch):
    """Read the head of a patch."""
    head = patch.read_text().partition("\n---")[0].splitlines()
    said = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in head) if value]
    (guard,) = (value for name, value in said if name == "guard")
    return Mutant(patch, guard, tuple(value for name, value in said if name == "fails"))


def mutants(names=()):
    """All mutants, or those of these names."""
    return [read(patch) for patch in sorted(HERE.glob("*.patch")) if patch.stem in (names or [patch.stem])]


def refusal(patch, root, *options):
    """Apply a patch there; return why it does not apply, or nothing. ``--check`` changes nothing."""
    # A folder that lies in another repository would have git take the paths from that one's top.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}
    command = ["git", "apply", *options, str(patch)]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    return done.stderr.strip()


def tested(patches, tests):
    """Run tests in a copy of the tree with these patches applied."""
    with tempfile.TemporaryDirectory(prefix="mutant") as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        for helpers in copy.glob("tests/*/*.py") if patches else ():
            helpers.write_text(HURRIED[0].sub(HURRIED[1], helpers.read_text()))
        for patch in patches:
            if why := refusal(patch, copy):
                return Run(-1, {}, f"the patch no longer applies, make it anew: {why}")
        if any(EXTENSION.search(patch.read_text()) for patch in patches) and (why := unbuilt(copy)):
            return Run(-1, {}, why)
        patience = PATIENCE if patches else WHOLE_PATIENCE
        command = [sys.executable, "-m", "pytest", "-q", "--junitxml=report.xml", "-p", "no:cacheprovider", *tests]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=copy, env=env, capture_output=True, text=True, check=False, timeout=patience
            )
        except subprocess.TimeoutExpired:
            return Run(-1, {}, f"the tests did not end within {patience:g} s")
        return Run(done.returncode, cases_of(copy / "report.xml"), done.stdout)


def unbuilt(root):
    """Build the extension there, without optimization; return why that failed, or nothing."""
    for old in root.glob("ratelimitd/transport/_nghttp2*.so"):
        old.unlink()
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
    env = {**os.environ, "CFLAGS": "-O0", PURE: "1"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    return "" if [*root.glob("ratelimitd/transport/_nghttp2*.so")] else done.stderr


def cases_of(report):
    """Read JUnit's report: what became of each case, by pytest's name of it."""
    cases: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        found = {child.tag for child in case}
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        fate = "failed" if "failure" in found else next(iter(found & {"error", "skipped"}), "passed")
        cases[name] = cases[name] if cases.get(name) == "failed" else fate  # a failed test may err once more at its end
    return cases


def problem(run, code, wanted, tests):
    """Return what is wrong with a run in which each of these tests must have had this fate, or nothing."""
    if run.code not in (ALL_PASSED, SOME_FAILED):
        return run.text
    wrong = [f"{test}: {fate}" for test in tests if (fate := run.fate(test)) != wanted]
    return ", ".join(wrong) or ("" if run.code == code else run.text)


def main():
    """Try them all, print a table, and say by the exit code whether every guard is held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="patches without .patch; all by default")
    chosen = mutants(parser.parse_args().names)
    whole = dict.fromkeys(test for mutant in chosen for test in mutant.tests)
    if wrong := problem(tested([], whole), ALL_PASSED, "passed", whole):
        print(f"without a patch all of them must pass: {wrong}")
        return 1
    survived = 0
    width = max(len(mutant.patch.stem) for mutant in chosen)
    for mutant in chosen:
        began = time.monotonic()
        wrong = problem(tested([mutant.patch], mutant.tests), SOME_FAILED, "failed", mutant.tests)
        survived += bool(wrong)
        verdict = "SURVIVED" if wrong else "killed"
        took = time.monotonic() - began
        print(f"{mutant.patch.stem:{width}}  {verdict:8}  {took:5.1f} s  {mutant.guard}", flush=True)
        if wrong:
            print(f"  {wrong}")
    print(f"{len(chosen) - survived} of {len(chosen)} mutants killed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
