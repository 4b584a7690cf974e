"""statsd_exporter's mappings (PROMETHEUS_MAPPER_YAML): metrics under names and labels that a file makes of statsd's.

``file`` and ``matching`` have no I/O. The room needs YAML and RE2, so a process imports it only if it has such a file.
"""

from .exposed import Exposed
from .file import read_mapper
from .matching import Matcher

__all__ = ["Exposed", "Matcher", "read_mapper"]
