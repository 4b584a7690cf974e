"""Conversion of a gateway file to an Envoy 1.40 bootstrap.

It uses the types of ``envoy-data-plane``, an optional dependency that takes half a second to import. Only
``ratelimitd envoy`` imports this package.
"""

from .bootstrap import EnvoyOptions, bootstrap
from .gaps import denies, gaps
from .routes import EnvoyError
from .text import as_yaml

__all__ = ["EnvoyError", "EnvoyOptions", "as_yaml", "bootstrap", "denies", "gaps"]
