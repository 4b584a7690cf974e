"""What tests of several rooms share."""

import logging

import pytest
import structlog

from ratelimitd.observe import logs
from testkit.builds import EXTENSION

OF_THE_EXTENSION = ["attacks", "app/test_memory.py"]
"""What tests its bounds."""

collect_ignore = [] if EXTENSION else OF_THE_EXTENSION


@pytest.fixture
def restored():
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    logs._secrets.clear()
