"""Shared fixtures of the tests of the bench."""

import pytest

from bench.load import build
from testkit.errors import BenchError
from testkit.machine import cores


@pytest.fixture(scope="session")
def where():
    """The cores to use; skips if load.c cannot be compiled or there is only one core."""
    try:
        build()
        return cores()
    except BenchError as error:
        pytest.skip(str(error))
