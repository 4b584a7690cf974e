"""What tests of attacks share: the cores that they run on."""

import pytest

from testkit.errors import BenchError
from testkit.machine import cores


@pytest.fixture(scope="session")
def where():
    """The cores to use; skips where there is only one, as an attacker must not take the service's."""
    try:
        return cores()
    except BenchError as error:
        pytest.skip(str(error))
