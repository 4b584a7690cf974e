"""Both versions, and the policy of their services."""

import pytest

from testkit.redis_server import redis_server
from tests.upgrade import forms
from tests.upgrade.versions import ROOT, old  # noqa: F401 -- a fixture


@pytest.fixture(scope="session")
def new():
    """Return the folder with the package of this tree."""
    return ROOT


@pytest.fixture
def policy(tmp_path):
    """Return a folder with the policy of ``forms``."""
    forms.write_policy(tmp_path)
    return tmp_path


@pytest.fixture
def redis():
    """Run a Redis."""
    with redis_server() as server:
        yield server
