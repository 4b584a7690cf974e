"""Loads a policy while requests are being served.

A child process reads and parses; the parent takes the result in slices and lets the loop run between them. The
old policy goes the same way. Nothing here holds the loop as long as a collection of 100,000 nodes would, so the
collector rests meanwhile, and what was built is then put out of its sight (``gc.freeze``): a policy is freed by its
reference counts when ``dismantle`` takes it apart.
"""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from ratelimitd.policy import (
    Assembly,
    Node,
    Policy,
    PolicyError,
    PolicyErrors,
    Slice,
    Summary,
)

from .files import Source, describe
from .frames import FRAME_MAX, LENGTH, Frame, Job, Problems, Remarks, pack, unpack

LOAD_SECONDS: Final = 300.0
"""For a load: 100,000 rules take about 4 s on a free core and took 46 on two that were oversubscribed."""

NICENESS: Final = 10
"""Serving comes first: at this niceness the child gets about a tenth of a contended core."""

DISMANTLE_STEPS: Final = 200
"""Nodes or links freed at once, as many as a slice has rows."""

STDERR_SHOWN: Final = 1_000
"""Bytes of what a broken child said that an error repeats: the end of a traceback."""


class Loaded(NamedTuple):
    """A policy, what its writer should know, how much it holds, and which it is (``frames.End``)."""

    policy: Policy
    warnings: tuple[PolicyError, ...]
    summary: Summary
    files: int
    version: str


class _ChildError(Exception):
    """The child did not do its job; says why."""


class _Intake:
    """Takes frames until the last."""

    def __init__(self) -> None:
        self.assembly = Assembly()
        self._errors: list[PolicyError] = []
        self._warnings: list[PolicyError] = []

    def take(self, frame: Frame) -> Loaded | None:
        """Take a frame in; the last one gives the result, or raises PolicyErrors."""
        if isinstance(frame, Slice):
            self.assembly.add(frame)
        elif isinstance(frame, Problems):
            self._errors += frame.errors
        elif isinstance(frame, Remarks):
            self._warnings += frame.warnings
        elif self._errors:
            raise PolicyErrors(self._errors)
        else:
            return Loaded(self.assembly.policy, tuple(self._warnings), *frame)
        return None


async def load(
    source: Source,
    *,
    default_algorithm: str = "fixed_window",
    merge_domains: bool = False,
    within: float = LOAD_SECONDS,
) -> Loaded:
    """Load a policy through a child process. Raises PolicyErrors, also when the child dies or takes too long."""
    intake = _Intake()
    try:
        with _collector_at_rest():
            async with asyncio.timeout(within):
                return await _taken(intake, Job(source, default_algorithm, merge_domains))
    except TimeoutError:
        failure = f"not loaded within {within:g} s"
    except (_ChildError, OSError) as error:
        failure = f"not loaded: {error}"
    await dismantle(intake.assembly.policy)
    raise PolicyErrors([PolicyError(describe(source), 0, failure)])


async def dismantle(policy: Policy) -> None:
    """Free a policy that nothing looks anything up in any more, bit by bit."""
    for step, _ in enumerate(chain(_forgotten(policy), _freed(policy.nodes))):
        if step % DISMANTLE_STEPS == 0:
            await asyncio.sleep(0)


def _forgotten(policy: Policy) -> Iterator[None]:
    """Empty the tables of API keys."""
    for domain in policy.domains.values():
        while domain.identity is not None and domain.identity.tiers:
            domain.identity.tiers.popitem()
            yield


def _freed(nodes: list[Node]) -> Iterator[None]:
    """Take nodes apart from the last: what a node leads to came after it, and is bare by then."""
    while nodes:
        node = nodes.pop()
        while node.children:
            node.children.popitem()
            yield
        while node.wildcards:
            node.wildcards.forget_last()
            yield
        yield


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    gc.collect(1)  # under 1 ms; garbage that is frozen would stay for good
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


async def _taken(intake: _Intake, job: Job) -> Loaded:
    async with _child(job) as frames:
        while True:
            loaded = intake.take(await _frame(frames))
            if loaded is not None:
                return loaded
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _child(job: Job) -> AsyncIterator[asyncio.StreamReader]:
    """Start the child on its job; it is gone when the block ends, however it ends.

    Through ``subprocess`` in a thread, because it forks without copying the page tables of a large process:
    0.3 ms against 8 ms by uvloop's own way from a process of 400 MB.
    """
    with _scratch() as said:
        child = await asyncio.to_thread(_spawn, job, said)
        try:
            stream = asyncio.StreamReader()
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), child.stdout
            )
            with contextlib.closing(transport):
                yield stream
        except asyncio.IncompleteReadError:
            code = await asyncio.to_thread(child.wait)
            reason = _last_words(said) or f"exit code {code}"
            raise _ChildError(f"the parser process exited unexpectedly: {reason}") from None
        finally:
            child.kill()
            await asyncio.to_thread(child.wait)


def _scratch() -> BinaryIO:
    """A file for what the child says at its end; in memory where the system can, since the root may be read-only."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("said"), "w+b")
    return cast("BinaryIO", tempfile.TemporaryFile())


def _spawn(job: Job, said: BinaryIO) -> subprocess.Popen[bytes]:
    package_home = str(Path(__file__).parents[2])
    search = os.pathsep.join(filter(None, (package_home, os.environ.get("PYTHONPATH"))))
    child = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", f"{__package__}.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,  # else a Ctrl-C at our terminal would end it too
        env={**os.environ, "PYTHONPATH": search},
    )
    os.setpriority(os.PRIO_PROCESS, child.pid, NICENESS)
    with contextlib.suppress(BrokenPipeError), cast("BinaryIO", child.stdin) as pipe:
        pipe.write(pack(job))
    return child


def _last_words(said: BinaryIO) -> str:
    said.seek(-min(said.seek(0, os.SEEK_END), STDERR_SHOWN), os.SEEK_END)
    return said.read().decode(errors="replace").strip()


async def _frame(stream: asyncio.StreamReader) -> Frame:
    (size,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
    if size > FRAME_MAX:
        raise _ChildError(f"a frame of {size} bytes exceeds the maximum of {FRAME_MAX}")
    frame: Frame = unpack(await stream.readexactly(size))
    return frame
