"""Profiles of Hypothesis: how many examples a property is tried with.

``whole`` is the default. ``quick``, for ``make quick``, has a fifth of its examples.
"""

from typing import Final

from hypothesis import settings

WHOLE: Final = 100
"""Hypothesis' default."""

QUICK: Final = 20

settings.register_profile(
    "whole", deadline=None, max_examples=WHOLE
)  # how long an example takes depends on the machine
settings.register_profile("quick", deadline=None, max_examples=QUICK)


def examples(factor: float) -> int:
    """Return ``max_examples`` for a property that needs more or fewer examples than the profile has."""
    profile = settings.default
    assert profile is not None
    return int(profile.max_examples * factor)
