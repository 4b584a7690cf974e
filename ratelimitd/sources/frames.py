"""What the child that parses tells its parent: pickled frames, each behind its length.

Both ends are one program, started by one another over private pipes; nothing else can write here.
"""

import pickle
import struct
from typing import Any, Final, NamedTuple

from ratelimitd.policy import PolicyError, Slice, Summary

from .files import Source

LENGTH: Final = struct.Struct(">I")

FRAME_MAX: Final = 64 << 20
"""A slice is some 10 kB; more only with metadata, which is bounded by the size of all policy files."""


class Job(NamedTuple):
    """What the child is to load."""

    source: Source
    default_algorithm: str
    merge_domains: bool


class Problems(NamedTuple):
    """Some of the errors; more may follow."""

    errors: list[PolicyError]


class Remarks(NamedTuple):
    """Some of the warnings; more may follow."""

    warnings: list[PolicyError]


class End(NamedTuple):
    """The last frame. ``version`` is the SHA-256, in hex, of what all files hold, one behind the other as read."""

    summary: Summary
    files: int
    version: str = ""


Frame = Slice | Problems | Remarks | End


def pack(frame: Frame | Job) -> bytes:
    """Make bytes of a frame or job, its length first."""
    body = pickle.dumps(frame, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    """Make a frame or job of what ``pack`` made, without its length."""
    return pickle.loads(body)  # noqa: S301 - written by our own child or parent
