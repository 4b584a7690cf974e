"""What all tests share: the plugin that checks their markers, and Hypothesis' profile."""

from hypothesis import settings

import testkit.examples  # noqa: F401 - it registers the profiles

pytest_plugins = ["testkit.needs"]

settings.load_profile("whole")
