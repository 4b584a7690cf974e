"""ratelimitd: the rate-limit service that stands next to Envoy."""

import os
from pathlib import Path

from ratelimitd.commit import recorded
from ratelimitd.compiled import build

__version__ = "0.9.0"

__build__ = build(Path(__file__).parent, os.environ)
"""``compiled``, or ``interpreted`` and why."""

__commit__ = recorded(Path(__file__).parent)
"""Commit that this was built from; empty in a source tree."""
