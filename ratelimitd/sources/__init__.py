"""Where policies come from: folders and files, watched."""

from .files import Paths, RuntimeFolder, Signature, Source, describe, list_files, read_files, signature
from .loader import Loaded, dismantle, load
from .watch import Watch

__all__ = [
    "Loaded",
    "Paths",
    "RuntimeFolder",
    "Signature",
    "Source",
    "Watch",
    "describe",
    "dismantle",
    "list_files",
    "load",
    "read_files",
    "signature",
]
