"""The tests that pytest collects, with their scenarios; for tests that refer to other tests."""

import contextlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


class Collection:
    """A pytest plugin that records the scenario markers of each test, by node ID."""

    def __init__(self):
        self.scenarios: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session):
        for item in session.items:
            self.scenarios[item.nodeid] = [marker.args[0] for marker in item.iter_markers("scenario")]


@cache
def collected():
    """Return the scenarios of every test, by node ID; a parametrized test is there with and without its parameters."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.collected"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    tests: dict[str, frozenset[str]] = {}
    for name, scenarios in json.loads(done.stdout).items():
        for each in {name, name.partition("[")[0]}:
            tests[each] = tests.get(each, frozenset()) | frozenset(scenarios)
    return tests


if __name__ == "__main__":
    collection = Collection()
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"], plugins=[collection])
    json.dump(collection.scenarios, sys.stdout)
    sys.exit(code)
