"""What the tests of the bench share."""

import pytest

from bench.load import build
from testkit.errors import BenchError
from testkit.machine import cores


@pytest.fixture(scope="session")
def where():
    """The cores to run on, where load.c can be compiled and there are two."""
    try:
        build()
        return cores()
    except BenchError as error:
        pytest.skip(str(error))
