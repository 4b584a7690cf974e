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
from .loader import InvalidPolicyError, Loaded, LoadError, dismantle, load
from .overlay import OVERLAY_BYTES, EntryEffect, OverlayFile, OverlayReport, find_overlay
from .pushed import Pushed
from .watch import Watch

__all__ = [
    "BYTES_MOST",
    "GATEWAY_ALGORITHM",
    "OVERLAY_BYTES",
    "EntryEffect",
    "Examined",
    "GatewayFile",
    "InvalidPolicyError",
    "LoadError",
    "Loaded",
    "OverlayFile",
    "OverlayReport",
    "Paths",
    "Pushed",
    "RuntimeFolder",
    "Signature",
    "Source",
    "Watch",
    "describe",
    "dismantle",
    "examine_source",
    "find_overlay",
    "list_files",
    "load",
    "named",
    "read_file",
    "read_files",
    "signature",
    "skipped",
    "tiers_beside",
]
