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
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from ratelimitd.compiled import PURE
from ratelimitd.kernel import memory_of
from ratelimitd.observe.container import memory_left
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

from .files import BYTES_DEFAULT, Source, describe
from .frames import FRAME_MAX, LENGTH, OUT_OF_MEMORY, ErrorFrame, Frame, LoadJob, WarningFrame, pack, unpack
from .overlay import OverlayFile, OverlayReport
from .pushed import Pushed

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

MEMORY_LEAST: Final = 64 << 20
"""Bytes of memory that the child may take whatever the size of the files: its interpreter and modules take 25 MiB, an
overlay 7."""

MEMORY_PER_BYTE: Final = 64
"""Bytes of memory that it may take for each byte of POLICY_MAX_BYTES; rules of 60 to 100 bytes take 40 to 53."""

PUSHED_PER_BYTE: Final = 128
"""The same for each byte of a pushed policy, whose rules have 10 to 100 bytes and take up to 90 of each."""

LOOK_SECONDS: Final = 0.1
"""Between two looks at the memory of a child; in that time a parse takes some 2 MiB."""

SHARE: Final = 7 / 8
"""Of the memory that the container has left; the service takes the rest for what the child finds.

The kernel may end all processes of a container when one of them takes too much: Kubernetes asks for that since 1.28.
"""

LEFT_TOO_LITTLE: Final = "parsing the policy takes more than the {} MiB that the container has left: raise its memory"

OVER_MEMORY: Final = (
    "parsing the files takes more than the {} MiB that POLICY_MAX_BYTES={} allows: write fewer or shorter rules, "
    "or raise it, and the memory of the container"
)

PUSHED_OVER_MEMORY: Final = "parsing the policy takes more than the {} MiB that its size allows: send fewer rules"

KILLED: Final = "it was killed (SIGKILL), by the kernel if the memory of the container is used up: raise that"

KEPT: Final = ("PATH", "LANG", "LANGUAGE", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", PURE)
"""Variables that an interpreter needs, and the one that chooses its build. All others stay with the service, since
some of them are secrets."""

KEPT_PREFIXES: Final = ("LC_", "PYTHON", "COVERAGE_")
"""The same; the last are those of coverage, for tests that measure the child."""

STDERR_SHOWN: Final = 1_000
"""Bytes of a failed child's stderr that an error includes: the end of a traceback."""


class Loaded(NamedTuple):
    """A loaded policy with its warnings, summary, number of files, version and overlay (see ``frames.EndFrame``)."""

    policy: Policy
    warnings: tuple[PolicyError, ...]
    summary: PolicySummary
    files: int
    version: str
    overlay: OverlayReport | None = None


class LoadError(PolicyErrors):
    """A policy that was not loaded for a reason outside of it, so that the same content may load later."""


class InvalidPolicyError(PolicyErrors):
    """A policy has errors.

    Attributes:
        overlay: what the load found of the overlay, whose faults are not among the errors.
    """

    def __init__(self, errors: Iterable[PolicyError], overlay: OverlayReport | None) -> None:
        super().__init__(errors)
        self.overlay = overlay


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
            raise InvalidPolicyError(self._errors, frame.overlay)
        else:
            return Loaded(self.assembly.policy, tuple(self._warnings), *frame)
        return None


async def load(
    source: Source | Pushed,
    *,
    default_algorithm: str = "fixed_window",
    merge_domains: bool = False,
    fixed_window_keys: FixedWindowKeys = FixedWindowKeys.UPSTREAM,
    needs_file: bool = False,
    most: int = BYTES_DEFAULT,
    within: float = LOAD_SECONDS,
    overlay: OverlayFile | None = None,
) -> Loaded:
    """Load a policy in a child process. Raises InvalidPolicyError; LoadError if it exits or exceeds ``within`` seconds.

    ``needs_file``: no file at all is an error too. ``most``: bytes that the files may have together; the memory of the
    child is bounded in proportion. That of a pushed policy is bounded by its size.
    """
    receiver = _Receiver()
    try:
        with _collector_paused():
            async with asyncio.timeout(within):
                memory = await asyncio.to_thread(_memory, _bound(source, most))
                job = LoadJob(source, default_algorithm, merge_domains, most, memory, fixed_window_keys, overlay)
                loaded = await _receive(receiver, job)
        if loaded.files or not needs_file:
            return loaded
        failure = NO_FILE
    except TimeoutError:
        failure = f"not loaded within {within:g} s"
    except (_ChildError, OSError) as error:
        failure = f"not loaded: {error}"
    await dismantle(receiver.assembly.policy)
    raise LoadError([PolicyError(describe(source), 0, failure)])


async def dismantle(policy: Policy) -> None:
    """Free a policy that is no longer used, in small steps."""
    for step, _ in enumerate(chain(_clear_api_keys(policy), _free_nodes(policy.nodes), _free_domains(policy))):
        if step % DISMANTLE_STEPS == 0:
            await asyncio.sleep(0)


def _clear_api_keys(policy: Policy) -> Iterator[None]:
    """Clear the tables of API keys."""
    for domain in policy.domains.values():
        while domain.identity is not None and domain.identity.tiers:
            domain.identity.tiers.popitem()
            yield
        yield


def _free_domains(policy: Policy) -> Iterator[None]:
    """Free the domains, of which a control plane may send thousands."""
    while isinstance(policy.domains, dict) and policy.domains:
        policy.domains.popitem()
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
    gc.collect(1)  # frozen garbage would never be freed
    try:
        yield
    finally:
        gc.freeze()  # after a failure too: what came meanwhile would be traversed at once
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
        watching = asyncio.create_task(_end_past(child, job.memory))
        try:
            stream = asyncio.StreamReader()
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), child.stdout
            )
            with contextlib.closing(transport):
                yield stream
        except asyncio.IncompleteReadError:
            code = await asyncio.to_thread(child.wait)
            code = OUT_OF_MEMORY if watching.done() else code
            raise _ChildError(_ended(code, job, _stderr_tail(stderr))) from None
        finally:
            watching.cancel()
            child.kill()
            await asyncio.to_thread(child.wait)


async def _end_past(child: subprocess.Popen[bytes], memory: int) -> None:
    """Kill a child that takes more than this; returns then."""
    while memory_of(child.pid) <= memory:  # noqa: ASYNC110 -- the kernel tells nothing of another process
        await asyncio.sleep(LOOK_SECONDS)
    child.kill()


def memory_for(most: int) -> int:
    """Return the bytes of memory that a child may take for files of at most this size."""
    return MEMORY_LEAST + MEMORY_PER_BYTE * most


def _bound(source: Source | Pushed, most: int) -> int:
    """Return the bytes of memory that the child for a source may take; ``most`` is of files."""
    if isinstance(source, Pushed):
        return MEMORY_LEAST + PUSHED_PER_BYTE * len(source.body or b"")
    return memory_for(most)


def _memory(bound: int) -> int:
    """Return the bytes of memory for a child, which are fewer if the container has not so many."""
    left = memory_left()
    return bound if left is None else min(bound, int(left * SHARE))


def _ended(code: int, job: LoadJob, stderr: str) -> str:
    """Return why the child ended early, and what to do."""
    if code == OUT_OF_MEMORY:
        mib = job.memory >> 20
        if job.memory < _bound(job.source, job.most):
            return LEFT_TOO_LITTLE.format(mib)
        pushed = isinstance(job.source, Pushed)
        return PUSHED_OVER_MEMORY.format(mib) if pushed else OVER_MEMORY.format(mib, job.most)
    killed = f"exit code {code}; {KILLED}" if code == -signal.SIGKILL else f"exit code {code}"
    return f"the parser process exited unexpectedly: {stderr or killed}"


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
        env={**_kept(os.environ), "PYTHONPATH": search},
    )
    own = os.getpriority(os.PRIO_PROCESS, 0)  # a process that was niced itself may not lower the niceness of its child
    os.setpriority(os.PRIO_PROCESS, child.pid, min(own + NICENESS, LEAST_PRIORITY))
    with contextlib.suppress(BrokenPipeError), cast("BinaryIO", child.stdin) as pipe:
        pipe.write(pack(job))
    return child


def _kept(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}


def _stderr_tail(stderr: BinaryIO) -> str:
    stderr.seek(-min(stderr.seek(0, os.SEEK_END), STDERR_SHOWN), os.SEEK_END)
    return stderr.read().decode(errors="replace").strip()


async def _frame(stream: asyncio.StreamReader) -> Frame:
    (size,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
    if size > FRAME_MAX:
        raise _ChildError(f"a frame of {size} bytes exceeds the maximum of {FRAME_MAX}")
    frame: Frame = unpack(await stream.readexactly(size))
    return frame
