"""envoyproxy/ratelimit's metrics under their statsd names, and their way to statsd or to Datadog's agent.

The names and the lines have no I/O (``names``, ``wire``, ``deltas``, ``mogrify``); ``sinks`` has the sockets, and
``reporter`` the intervals.
"""

from .names import Stat, limit_name, service_stats, time_name
from .reporter import Reporter
from .sinks import DatagramSink, Sink, TcpSink
from .wire import Write, dog_statsd, statsd

__all__ = [
    "DatagramSink",
    "Reporter",
    "Sink",
    "Stat",
    "TcpSink",
    "Write",
    "dog_statsd",
    "limit_name",
    "service_stats",
    "statsd",
    "time_name",
]
