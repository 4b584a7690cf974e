"""ratelimitd: the rate-limit service that stands next to Envoy."""

import os
from pathlib import Path

from ratelimitd.compiled import build

__version__ = "0.1.0"

__build__ = build(Path(__file__).parent, os.environ)
"""``compiled``, or ``interpreted`` and why."""
