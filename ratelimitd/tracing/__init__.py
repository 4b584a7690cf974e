"""Traces: the context that a request brings and takes along, spans, and their way to a collector.

``context``, ``span`` and ``decision`` have no I/O, ``exporter`` has the thread. ``otlp`` alone imports opentelemetry,
so it is a face of its own. A process without TRACING_ENABLED imports nothing of this room.
"""

from .context import NAMES, Context, Found, Parent, Sampler, extract, inject
from .exporter import Exporter
from .span import Attributes, Kind, Span
from .tracer import Tracer

__all__ = [
    "NAMES",
    "Attributes",
    "Context",
    "Exporter",
    "Found",
    "Kind",
    "Parent",
    "Sampler",
    "Span",
    "Tracer",
    "extract",
    "inject",
]
