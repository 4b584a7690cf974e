"""What all tests share: the plugin that checks their markers, Hypothesis' profile, and Ctrl-C."""

import os
import signal
import sys

# Before the first import of the package. Without the option tests run on the sources, also in the programs they start:
# doubles need not be of compiled types, constants can be replaced, coverage sees all, and no build is waited for.
os.environ["RATELIMITD_PURE"] = "0" if "--compiled" in sys.argv else "1"

from hypothesis import settings

import testkit.examples  # noqa: F401 - it registers the profiles

pytest_plugins = ["testkit.needs", "testkit.builds"]

settings.load_profile("whole")

# A shell starts its background jobs with SIGINT ignored, and the programs that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
