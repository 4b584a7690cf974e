"""What all tests share: the plugin that checks their markers, and the profiles of Hypothesis."""

from hypothesis import settings

pytest_plugins = ["testkit.needs"]

settings.register_profile("whole", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("whole")
"""How long an example takes is the machine's affair. ``quick`` is for ``make quick``: a fifth of the examples."""
