"""Sources of policies: folders and files, which are watched for changes."""

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
from .loader import Loaded, dismantle, load
from .watch import Watch

__all__ = [
    "BYTES_MOST",
    "GATEWAY_ALGORITHM",
    "Examined",
    "GatewayFile",
    "Loaded",
    "Paths",
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
