"""Loads a policy while requests are served.

A child process reads and parses; the parent assembles the result in slices and yields to the event loop between them.
The old policy is freed in the same way. A garbage collection of 100,000 nodes would block the loop for longer than all
of this. The collector is therefore disabled meanwhile, and the new objects are then excluded from it (``gc.freeze``): a
policy is freed by reference counting when ``dismantle`` breaks it up.
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
    DescriptorNode,
    FixedWindowKeys,
    Policy,
    PolicyError,
    PolicyErrors,
    PolicySummary,
    Slice,
)

from .files import Source, describe
from .frames import FRAME_MAX, LENGTH, ErrorFrame, Frame, LoadJob, WarningFrame, pack, unpack

LOAD_SECONDS: Final = 300.0
"""Timeout of a load: 100,000 rules take about 4 s on an idle core, and took 46 s on two oversubscribed cores."""

NICENESS: Final = 10
"""Added to that of the service, which has priority: the child gets about a tenth of a contended core."""

LEAST_PRIORITY: Final = 19
"""The largest niceness of Linux (setpriority(2))."""

DISMANTLE_STEPS: Final = 200
"""Nodes or links freed per event-loop iteration: as many as the rows of a slice."""

NO_FILE: Final = (
    "no policy file is left, which is not taken as the wish to limit nothing: restore the files, "
    "or write one with a domain and no descriptors"
)

STDERR_SHOWN: Final = 1_000
"""Bytes of a failed child's stderr that an error includes: the end of a traceback."""


class Loaded(NamedTuple):
    """A loaded policy with its warnings, summary, number of files and version (see ``frames.EndFrame``)."""

    policy: Policy
    warnings: tuple[PolicyError, ...]
    summary: PolicySummary
    files: int
    version: str


class _ChildError(Exception):
    """The child process failed. The text gives the reason."""


class _Receiver:
    """Receives the frames of one load."""

    def __init__(self) -> None:
        self.assembly = Assembly()
        self._errors: list[PolicyError] = []
        self._warnings: list[PolicyError] = []

    def take(self, frame: Frame) -> Loaded | None:
        """Process a frame. The last frame returns the result or raises PolicyErrors."""
        if isinstance(frame, Slice):
            self.assembly.add(frame)
        elif isinstance(frame, ErrorFrame):
            self._errors += frame.errors
        elif isinstance(frame, WarningFrame):
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
    fixed_window_keys: FixedWindowKeys = FixedWindowKeys.UPSTREAM,
    needs_file: bool = False,
    within: float = LOAD_SECONDS,
) -> Loaded:
    """Load a policy in a child process. Raises PolicyErrors, also if the child exits or exceeds ``within`` seconds.

    ``needs_file``: no file at all is an error too.
    """
    receiver = _Receiver()
    try:
        with _collector_paused():
            async with asyncio.timeout(within):
                job = LoadJob(source, default_algorithm, merge_domains, fixed_window_keys)
                loaded = await _receive(receiver, job)
        if loaded.files or not needs_file:
            return loaded
        failure = NO_FILE
    except TimeoutError:
        failure = f"not loaded within {within:g} s"
    except (_ChildError, OSError) as error:
        failure = f"not loaded: {error}"
    await dismantle(receiver.assembly.policy)
    raise PolicyErrors([PolicyError(describe(source), 0, failure)])


async def dismantle(policy: Policy) -> None:
    """Free a policy that is no longer used, in small steps."""
    for step, _ in enumerate(chain(_clear_api_keys(policy), _free_nodes(policy.nodes))):
        if step % DISMANTLE_STEPS == 0:
            await asyncio.sleep(0)


def _clear_api_keys(policy: Policy) -> Iterator[None]:
    """Clear the tables of API keys."""
    for domain in policy.domains.values():
        while domain.identity is not None and domain.identity.tiers:
            domain.identity.tiers.popitem()
            yield


def _free_nodes(nodes: list[DescriptorNode]) -> Iterator[None]:
    """Free the nodes from the last. The children of a node come after it, so they are already empty."""
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
def _collector_paused() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    gc.collect(1)  # under 1 ms; frozen garbage would never be freed
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


async def _receive(receiver: _Receiver, job: LoadJob) -> Loaded:
    async with _child(job) as frames:
        while True:
            loaded = receiver.take(await _frame(frames))
            if loaded is not None:
                return loaded
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _child(job: LoadJob) -> AsyncIterator[asyncio.StreamReader]:
    """Start the child with its job. The child is killed when the block ends.

    ``subprocess`` in a thread is used because it does not copy the page tables of a large process: 0.3 ms, compared
    with 8 ms of uvloop's subprocess support, for a process of 400 MB.
    """
    with _stderr_file() as stderr:
        child = await asyncio.to_thread(_spawn, job, stderr)
        try:
            stream = asyncio.StreamReader()
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), child.stdout
            )
            with contextlib.closing(transport):
                yield stream
        except asyncio.IncompleteReadError:
            code = await asyncio.to_thread(child.wait)
            reason = _stderr_tail(stderr) or f"exit code {code}"
            raise _ChildError(f"the parser process exited unexpectedly: {reason}") from None
        finally:
            child.kill()
            await asyncio.to_thread(child.wait)


def _stderr_file() -> BinaryIO:
    """Return a file for the child's stderr; in memory if the system supports it, as the root may be read-only."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return cast("BinaryIO", tempfile.TemporaryFile())


def _spawn(job: LoadJob, stderr: BinaryIO) -> subprocess.Popen[bytes]:
    package_home = str(Path(__file__).parents[2])
    search = os.pathsep.join(filter(None, (package_home, os.environ.get("PYTHONPATH"))))
    child = subprocess.Popen(  # noqa: S603 -- our own program
        [sys.executable, "-P", "-m", f"{__package__}.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,  # otherwise Ctrl-C in the terminal would end it too
        env={**os.environ, "PYTHONPATH": search},
    )
    own = os.getpriority(os.PRIO_PROCESS, 0)  # a process that was niced itself may not lower the niceness of its child
    os.setpriority(os.PRIO_PROCESS, child.pid, min(own + NICENESS, LEAST_PRIORITY))
    with contextlib.suppress(BrokenPipeError), cast("BinaryIO", child.stdin) as pipe:
        pipe.write(pack(job))
    return child


def _stderr_tail(stderr: BinaryIO) -> str:
    stderr.seek(-min(stderr.seek(0, os.SEEK_END), STDERR_SHOWN), os.SEEK_END)
    return stderr.read().decode(errors="replace").strip()


async def _frame(stream: asyncio.StreamReader) -> Frame:
    (size,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
    if size > FRAME_MAX:
        raise _ChildError(f"a frame of {size} bytes exceeds the maximum of {FRAME_MAX}")
    frame: Frame = unpack(await stream.readexactly(size))
    return frame
