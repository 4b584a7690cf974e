"""What the fuzzers share: a log that is read as it is written."""

import json
import logging

import pytest
import structlog

from ratelimitd.observe import logs

FAULT = "unhandled error while deciding a request"


class Log:
    """A stream for logs: each line has to be JSON; those that report an internal error are kept."""

    def __init__(self):
        self.lines = 0
        self.faults: list[str] = []

    def isatty(self):
        return False

    def write(self, text):
        self.lines += isinstance(json.loads(text), dict)
        if FAULT in text:
            self.faults.append(text)

    def flush(self):
        """Nothing is held back."""


@pytest.fixture
def log():
    """What is logged at every level."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = Log()
    logs.configure("trace", "json", stream)
    structlog.configure(cache_logger_on_first_use=False)  # or loggers would keep this stream for other tests
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
