"""Files that others change at run time: secrets, certificates, policies. Symbolic links are followed.

Kubernetes replaces such a file by swapping a symbolic link; a process with write access may also replace it with a
FIFO or a device.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

SECRET_BYTES: Final = 1 << 20
"""Maximum size of a Kubernetes Secret or ConfigMap; the CA bundle of a Linux distribution is a fifth of it."""

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last write and of the last change of the inode, in ns."""


def read_regular(path: str | Path, most: int) -> bytes:
    """Read a regular file of at most ``most`` bytes; never blocks on a FIFO or a device.

    Raises OSError: EISDIR for a directory, EINVAL for any other file that is not regular, EFBIG for a longer file.
    """
    with open(without_null(path), "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"longer than {most} bytes", str(path))
    return content


def stamp(path: str | Path) -> Stamp:
    """Return a value that changes when a file is written or replaced. Raises OSError."""
    status = without_null(path).stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def without_null(path: str | Path) -> Path:
    """Return a path; raises OSError for one with a null character, for which functions of ``os`` raise ValueError."""
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "a path cannot contain a null character", str(path))
    return Path(path)


def reason(error: Exception) -> str:
    """Return the text of an error for a person: of an OSError its file and cause, without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
