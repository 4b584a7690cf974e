"""``python -m ratelimitd.sources.child``: loads a policy for a parent that must not be held up.

Standard input holds one Job; standard output gets the frames of ``perform``. The frames are a module of their own: what
this one defines is pickled as of ``__main__``, which the parent does not have.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import BinaryIO, Final, TypeVar

from ratelimitd.policy import SLICE_ROWS, PolicyError, PolicyErrors, Summary, slices
from ratelimitd.policy_file import Beside, examine

from .files import describe, read_files, tiers_beside
from .frames import LENGTH, End, Frame, Job, Problems, Remarks, pack, unpack

_T = TypeVar("_T")

NO_DOMAIN: Final = "no policy found: no domain is defined, so no request is limited"


def main(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Read a job, answer it."""
    (size,) = LENGTH.unpack(stdin.read(LENGTH.size))
    stdout.writelines(map(pack, perform(unpack(stdin.read(size)))))
    stdout.flush()


def perform(job: Job) -> Iterator[Frame]:
    """Read and parse: Slices of the policy, or Problems with every error; then Remarks; then End."""
    version = sha256()
    try:
        files = read_files(job.source, version.update)
    except PolicyErrors as errors:
        yield from map(Problems, _pieces(errors.errors))
        yield End(Summary(0, 0, 0), 0)
        return
    parsed = examine(
        files,
        default_algorithm=job.default_algorithm,
        merge_domains=job.merge_domains,
        beside=_overheard(tiers_beside(job.source), version.update),
    )
    if parsed.errors:
        yield from map(Problems, _pieces(parsed.errors))
    else:
        yield from slices(parsed.rows)
        yield from map(Remarks, _pieces(parsed.warnings))
        if not parsed.summary.domains:
            yield Remarks([PolicyError(describe(job.source), 0, NO_DOMAIN)])
    yield End(parsed.summary, len(files), version.hexdigest())


def _overheard(beside: Beside, seen: Callable[[bytes], object]) -> Beside:
    """Return what reads the same files, and gives ``seen`` what they hold."""

    def read(file: str, named: str) -> tuple[str, bytes]:
        name, content = beside(file, named)
        seen(content)
        return name, content

    return read


def _pieces(items: Sequence[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), SLICE_ROWS):
        yield list(items[start : start + SLICE_ROWS])


if __name__ == "__main__":
    gc.disable()
    main(sys.stdin.buffer, sys.stdout.buffer)
