"""ratelimitd: the rate-limit service that stands next to Envoy."""

__version__ = "0.1.0"
