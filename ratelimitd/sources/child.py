"""``python -m ratelimitd.sources.child``: loads a policy for a parent that must not block.

Standard input contains one LoadJob; the frames of ``perform`` are written to standard output. The frames are defined in
a separate module, because classes of this module would be pickled as members of ``__main__``.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import BinaryIO, Final, TypeVar

from ratelimitd.policy import SLICE_ROWS, PolicyError, PolicyErrors, PolicySummary, slices
from ratelimitd.policy_file import Beside, examine

from .files import describe, read_files, skipped, tiers_beside
from .frames import LENGTH, EndFrame, ErrorFrame, Frame, LoadJob, WarningFrame, pack, unpack

_T = TypeVar("_T")

NO_DOMAIN: Final = "no policy found: no domain is defined, so no request is limited"

NO_LIMIT: Final = (
    "the policy has no limit, so only requests that carry their own (overrides) are limited; "
    "if that is not intended, add descriptors"
)


def main(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Read a job and write its frames."""
    (size,) = LENGTH.unpack(stdin.read(LENGTH.size))
    stdout.writelines(map(pack, perform(unpack(stdin.read(size)))))
    stdout.flush()


def perform(job: LoadJob) -> Iterator[Frame]:
    """Read and parse the files: Slices and WarningFrames, or ErrorFrames with all errors; then one EndFrame."""
    version = sha256()
    try:
        files = read_files(job.source, version.update)
    except PolicyErrors as errors:
        yield from map(ErrorFrame, _pieces(errors.errors))
        yield EndFrame(PolicySummary(0, 0, 0), 0)
        return
    parsed = examine(
        files,
        default_algorithm=job.default_algorithm,
        merge_domains=job.merge_domains,
        beside=_recorded(tiers_beside(job.source), version.update),
    )
    if parsed.errors:
        yield from map(ErrorFrame, _pieces(parsed.errors))
    else:
        yield from slices(parsed.rows)
        yield from map(WarningFrame, _pieces([*skipped(job.source), *parsed.warnings]))
        if not parsed.summary.limits:
            nothing = NO_LIMIT if parsed.summary.domains else NO_DOMAIN
            yield WarningFrame([PolicyError(describe(job.source), 0, nothing)])
    yield EndFrame(parsed.summary, len(files), version.hexdigest())


def _recorded(beside: Beside, on_content: Callable[[bytes], object]) -> Beside:
    """Return a reader of the same files that passes each content to ``on_content``."""

    def read(file: str, named: str) -> tuple[str, bytes]:
        name, content = beside(file, named)
        on_content(content)
        return name, content

    return read


def _pieces(items: Sequence[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), SLICE_ROWS):
        yield list(items[start : start + SLICE_ROWS])


if __name__ == "__main__":
    gc.disable()
    main(sys.stdin.buffer, sys.stdout.buffer)
