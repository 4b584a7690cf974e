"""Messages between the parser process and its parent: pickled frames, each preceded by its length.

Both ends are the same program, and the pipes are private: no other process can write to them.
"""

import pickle
import struct
from typing import Any, Final, NamedTuple

from ratelimitd.policy import FixedWindowKeys, PolicyError, PolicySummary, Slice

from .files import Source
from .overlay import OverlayFile, OverlayReport
from .pushed import Pushed

LENGTH: Final = struct.Struct(">I")

FRAME_MAX: Final = 64 << 20
"""Maximum size of a frame. A slice takes about 10 kB, more only with metadata, which the size of the files limits."""


class LoadJob(NamedTuple):
    """A source to load, and its options.

    Attributes:
        most: bytes that the files may have together.
        memory: bytes that the process may take.
    """

    source: Source | Pushed
    default_algorithm: str
    merge_domains: bool
    most: int
    memory: int
    fixed_window_keys: FixedWindowKeys = FixedWindowKeys.UPSTREAM
    overlay: OverlayFile | None = None


OUT_OF_MEMORY: Final = 3
"""Exit code of a child that reached the bound of its memory."""


MEMORY_SLACK: Final = 16 << 20
"""Bytes beyond its bound that a child can take until the parent looks; then allocations fail.

An interpreter whose smallest allocation fails may loop for ever where it handles that (CPython 3.11), so the parent
ends a child at its bound, and the kernel's refusal is for one that takes it all between two looks.
"""


class ErrorFrame(NamedTuple):
    """Part of the errors; more may follow."""

    errors: list[PolicyError]


class WarningFrame(NamedTuple):
    """Part of the warnings; more may follow."""

    warnings: list[PolicyError]


class EndFrame(NamedTuple):
    """The last frame.

    Attributes:
        files: files read; 0 for a pushed policy.
        version: of files the SHA-256, in hex, of the contents of all, concatenated as read; of a pushed policy its own.
        overlay: what was found of the overlay, also if the policy has errors; None: there is none.
    """

    summary: PolicySummary
    files: int
    version: str = ""
    overlay: OverlayReport | None = None


Frame = Slice | ErrorFrame | WarningFrame | EndFrame


def pack(frame: Frame | LoadJob) -> bytes:
    """Serialize a frame or job, preceded by its length."""
    body = pickle.dumps(frame, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    """Deserialize a frame or job from the output of ``pack`` without the length."""
    return pickle.loads(body)  # noqa: S301 -- written by our own child or parent
