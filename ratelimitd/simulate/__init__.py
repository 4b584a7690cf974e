"""The engine on simulated time, offline: shows the effect of a policy before it is deployed.

Its tables and plots (``report``, ``plot``) are faces of their own, with rich and matplotlib, and so is ``what_if``: a
service imports no rich for it.
"""

from ratelimitd.simulate.compare import with_algorithm
from ratelimitd.simulate.load import Event, LoadError, evenly, from_lines, poisson
from ratelimitd.simulate.run import Run, SimulationError, run

__all__ = [
    "Event",
    "LoadError",
    "Run",
    "SimulationError",
    "evenly",
    "from_lines",
    "poisson",
    "run",
    "with_algorithm",
]
