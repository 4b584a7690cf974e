"""What the tests of the bench share."""

import pytest

from bench.errors import BenchError
from bench.load import build
from bench.machine import cores


@pytest.fixture(scope="session")
def where():
    """The cores to run on, where load.c can be compiled and there are two."""
    try:
        build()
        return cores()
    except BenchError as error:
        pytest.skip(str(error))
