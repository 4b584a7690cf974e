"""``python -m ratelimitd.sources.child``: loads a policy for a parent that must not block.

Standard input contains one LoadJob; the frames of ``perform`` are written to standard output. The frames are defined in
a separate module, because classes of this module would be pickled as members of ``__main__``.
"""

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import BinaryIO, Final, TypeVar

from ratelimitd.kernel import be_ended_first, bound_memory, dumps_forbidden, forbid_dumps
from ratelimitd.lint import in_one  # this and policy_file are loaded before the memory is bounded
from ratelimitd.policy import SLICE_ROWS, PolicyError, PolicyErrors, PolicySummary, slices, with_keys
from ratelimitd.policy_file import Overlay

from .examined import Examined, examine_pushed, examine_source
from .files import describe
from .frames import (
    LENGTH,
    MEMORY_SLACK,
    OUT_OF_MEMORY,
    EndFrame,
    ErrorFrame,
    Frame,
    LoadJob,
    WarningFrame,
    pack,
    unpack,
)
from .overlay import find_overlay
from .pushed import Pushed

_T = TypeVar("_T")

RULE_WARNINGS_MAX: Final = 20
"""Warnings of one rule that reach the service, which logs them: a screenful."""

NO_DOMAIN: Final = "no policy found: no domain is defined, so no request is limited"


def run(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Do the job of this process; without memory for it, exit with OUT_OF_MEMORY."""
    try:
        main(stdin, stdout)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # an orderly end needs memory


def main(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Read a job and write its frames."""
    be_ended_first()
    if dumps_forbidden():
        forbid_dumps()
    (size,) = LENGTH.unpack(stdin.read(LENGTH.size))
    job: LoadJob = unpack(stdin.read(size))
    bound_memory(job.memory + MEMORY_SLACK)
    stdout.writelines(map(pack, perform(job)))
    stdout.flush()


def perform(job: LoadJob) -> Iterator[Frame]:
    """Read and parse the source: Slices and WarningFrames, or ErrorFrames with all errors; then one EndFrame."""
    found = None if job.overlay is None else find_overlay(job.overlay)
    try:
        examined = _examined(job, None if found is None else found.overlay)
    except PolicyErrors as errors:
        yield from map(ErrorFrame, _pieces(errors.errors))
        yield EndFrame(PolicySummary(0, 0, 0), 0, overlay=found and found.report(()))
        return
    parsed = examined.parsed
    if parsed.errors:
        yield from map(ErrorFrame, _pieces(parsed.errors))
    else:
        yield from slices(with_keys(parsed.rows, job.fixed_window_keys))
        pushed = isinstance(job.source, Pushed)
        warnings = examined.warnings if pushed else in_one(examined.warnings, describe(job.source))
        yield from map(WarningFrame, _pieces(list(_first(warnings))))
        if not parsed.summary.domains:
            yield WarningFrame([PolicyError(describe(job.source), 0, NO_DOMAIN)])
    yield EndFrame(parsed.summary, examined.files, examined.version, found and found.report(parsed.effects))


def _examined(job: LoadJob, overlay: Overlay | None) -> Examined:
    if isinstance(job.source, Pushed):
        return examine_pushed(
            job.source,
            default_algorithm=job.default_algorithm,
            merge_domains=job.merge_domains,
            fixed_window_keys=job.fixed_window_keys,
            overlay=overlay,
        )
    version = sha256()
    examined = examine_source(
        job.source,
        default_algorithm=job.default_algorithm,
        merge_domains=job.merge_domains,
        fixed_window_keys=job.fixed_window_keys,
        most=job.most,
        on_content=version.update,
        overlay=overlay,
    )
    return examined._replace(version=version.hexdigest())


def _first(warnings: Sequence[PolicyError]) -> Iterator[PolicyError]:
    """Yield the first warnings of each rule, then a line for those of a rule that are left out."""
    counts: Counter[str] = Counter()
    for warning in warnings:
        counts[warning.rule] += 1
        if counts[warning.rule] <= RULE_WARNINGS_MAX:
            yield warning
    for rule, count in counts.items():
        if count > RULE_WARNINGS_MAX:
            file = next(warning.file for warning in warnings if warning.rule == rule)
            left = f"and {count - RULE_WARNINGS_MAX} more such warnings"
            yield PolicyError(file, 0, left, rule, "`ratelimitd validate` lists all of them")


def _pieces(items: Sequence[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), SLICE_ROWS):
        yield list(items[start : start + SLICE_ROWS])


if __name__ == "__main__":
    gc.disable()
    run(sys.stdin.buffer, sys.stdout.buffer)
