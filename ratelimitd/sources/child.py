"""``python -m ratelimitd.sources.child``: loads a policy for a parent that must not be held up.

Standard input holds one Job; standard output gets the frames of ``perform``.
"""

import gc
import sys
from typing import BinaryIO

from .frames import LENGTH, pack, unpack
from .job import perform


def main(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Read a job, answer it."""
    (size,) = LENGTH.unpack(stdin.read(LENGTH.size))
    stdout.writelines(map(pack, perform(unpack(stdin.read(size)))))
    stdout.flush()


if __name__ == "__main__":
    gc.disable()
    main(sys.stdin.buffer, sys.stdout.buffer)
