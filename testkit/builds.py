"""Pytest plugin: which build of the package the tests run, and a refusal where they must run the compiled one."""

import shutil
from typing import Final

import pytest

from ratelimitd import __build__
from ratelimitd.compiled import COMPILED

COMPILER: Final = "cc"

interpreted_only: Final = pytest.mark.skipif(
    __build__ == COMPILED, reason="its doubles are not of compiled types, or replace what is compiled"
)


def problem(build: str) -> str:
    """Return why what tests the compiled modules must not run: where there is a compiler, they have to be compiled."""
    found = shutil.which(COMPILER)
    return f"the package is {build}: run `make setup`" if found and build != COMPILED else ""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the runs that test the compiled modules; conftest.py reads it first."""
    parser.addoption("--compiled", action="store_true", help="run on the modules that mypyc compiled, or fail")


def pytest_configure(config: pytest.Config) -> None:
    """End a run for the compiled modules if they are not imported; without a compiler it runs interpreted."""
    if config.getoption("compiled") and (error := problem(__build__)):
        raise pytest.UsageError(error)


def pytest_report_header() -> str:
    """Name the build."""
    return f"ratelimitd: {__build__}"
