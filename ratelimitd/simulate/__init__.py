"""The engine on simulated time, offline: shows the effect of a policy before it is deployed."""

from ratelimitd.simulate.compare import with_algorithm
from ratelimitd.simulate.load import Event, LoadError, evenly, from_lines, poisson
from ratelimitd.simulate.report import as_json, show, table
from ratelimitd.simulate.run import Run, SimulationError, run

__all__ = [
    "Event",
    "LoadError",
    "Run",
    "SimulationError",
    "as_json",
    "evenly",
    "from_lines",
    "poisson",
    "run",
    "show",
    "table",
    "with_algorithm",
]
