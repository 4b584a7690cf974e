"""Sources of policies: folders and files, which are watched for changes, and control planes, which push them.

``sources.xds`` has a face of its own: a service that reads files needs no gRPC client.
"""

from .examined import Examined, examine_source
from .files import (
    BYTES_MOST,
    GATEWAY_ALGORITHM,
    GatewayFile,
    Paths,
    RuntimeFolder,
    Signature,
    Source,
    describe,
    list_files,
    named,
    read_file,
    read_files,
    signature,
    skipped,
    tiers_beside,
)
from .loader import Loaded, LoadError, dismantle, load
from .pushed import Pushed
from .watch import Watch

__all__ = [
    "BYTES_MOST",
    "GATEWAY_ALGORITHM",
    "Examined",
    "GatewayFile",
    "LoadError",
    "Loaded",
    "Paths",
    "Pushed",
    "RuntimeFolder",
    "Signature",
    "Source",
    "Watch",
    "describe",
    "dismantle",
    "examine_source",
    "list_files",
    "load",
    "named",
    "read_file",
    "read_files",
    "signature",
    "skipped",
    "tiers_beside",
]
