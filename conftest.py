"""What all tests share: the plugin that checks their markers, Hypothesis' profile, and Ctrl-C."""

import signal

from hypothesis import settings

import testkit.examples  # noqa: F401 - it registers the profiles

pytest_plugins = ["testkit.needs"]

settings.load_profile("whole")

# A shell starts its background jobs with SIGINT ignored, and the programs that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
