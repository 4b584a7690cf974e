"""Pytest plugin: which build of the package the tests run, and a refusal where they must run the compiled one."""

import shutil
from typing import Final

import pytest

from ratelimitd import __build__
from ratelimitd.compiled import COMPILED
from ratelimitd.transport import nghttp2_available

COMPILER: Final = "cc"

interpreted_only: Final = pytest.mark.skipif(
    __build__ == COMPILED, reason="its doubles are not of compiled types, or replace what is compiled"
)

EXTENSION: Final = nghttp2_available() or shutil.which(COMPILER) is not None
"""False where grpcio serves for want of a compiler; where there is one, a missing extension fails its tests."""

extension_only: Final = pytest.mark.skipif(not EXTENSION, reason="there is no compiler to build the extension with")


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the half of a test of both transports that has no extension to run on."""
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if any(isinstance(value, str) and value == "nghttp2" for value in parameters.values()):
            item.add_marker(extension_only)


def pytest_report_header() -> str:
    """Name the build."""
    return f"ratelimitd: {__build__}"
