"""One load, from files to frames."""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from ratelimitd.policy import PolicyError, PolicyErrors, Summary, examine, slices
from ratelimitd.policy.rows import SLICE_ROWS

from .files import describe, read_files, tiers_beside
from .frames import End, Frame, Job, Problems, Remarks

_T = TypeVar("_T")

NO_DOMAIN: Final = "no policy here: no domain is known, so every request passes"


def perform(job: Job) -> Iterator[Frame]:
    """Read and parse: Slices of the policy, or Problems with every error; then Remarks; then End."""
    try:
        files = read_files(job.source)
    except PolicyErrors as errors:
        yield from map(Problems, _pieces(errors.errors))
        yield End(Summary(0, 0, 0), 0)
        return
    parsed = examine(
        files,
        default_algorithm=job.default_algorithm,
        merge_domains=job.merge_domains,
        beside=tiers_beside(job.source),
    )
    if parsed.errors:
        yield from map(Problems, _pieces(parsed.errors))
    else:
        yield from slices(parsed.rows)
        yield from map(Remarks, _pieces(parsed.warnings))
        if not parsed.summary.domains:
            yield Remarks([PolicyError(describe(job.source), 0, NO_DOMAIN)])
    yield End(parsed.summary, len(files))


def _pieces(items: Sequence[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), SLICE_ROWS):
        yield list(items[start : start + SLICE_ROWS])
