"""A gateway file as a bootstrap of Envoy 1.40.

Built with the types of ``envoy-data-plane``, an extra that takes half a second to import, so only the command that
needs it imports this room.
"""

from .bootstrap import Options, bootstrap
from .gaps import denies, gaps
from .routes import EnvoyError
from .text import as_yaml

__all__ = ["EnvoyError", "Options", "as_yaml", "bootstrap", "denies", "gaps"]
