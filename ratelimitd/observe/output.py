"""stdout and stderr of a service: text is queued, and a thread writes it, so that a full pipe holds nothing else.

``O_NONBLOCK`` would need no thread, but it belongs to the open file, which the shell of a terminal shares.
"""

import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TextIO

from .logs import get_logger

log = get_logger(__name__)

QUEUE_BYTES: Final = {"stdout": 1 << 20, "stderr": 256 << 10}
"""Text that waits to be written, then lines are dropped. stdout has requests, and Docker's ``max-buffer-size`` of a log
that must not block; stderr has what a service logs, and a quarter of that."""

PIECE_BYTES: Final = 128
"""Memory of a piece of text in the queue besides its bytes: 33 of the bytes object, 64 of the tuple, 8 of the place."""

BATCH_BYTES: Final = 64 << 10
"""Written at once: what a pipe of Linux holds (pipe(7))."""

PAUSE: Final = 0.005
"""Seconds for which text gathers between two writes: 200 switches of threads a second at most, 1 % of a core."""

FLUSH_SECONDS: Final = 1.0
"""Time at the end to write what waits; a reader that reads takes a full queue in milliseconds."""

STANDARD_STREAMS: Final = 3
"""Descriptors that a program gets from its parent: 0 to 2."""


class Piece(NamedTuple):
    """Text in the queue of a writer: its bytes, its lines, and the stream that counts them if they are lost."""

    data: bytes
    lines: int
    output: "Output"

    @property
    def size(self) -> int:
        """Memory in bytes."""
        return len(self.data) + PIECE_BYTES


class Writer:
    """The queue of one file and the thread that empties it.

    Attributes:
        failing: the last write failed.
        ended: the thread has written the last piece.
    """

    def __init__(self, file: int) -> None:
        self.failing = self.ended = False
        self._file = file
        self._pieces: SimpleQueue[Piece | None] = SimpleQueue()
        self._lock = threading.RLock()  # a finalizer may log, in the middle of a call
        self._put = self._written = 0
        self._thread = threading.Thread(target=self._run, name=f"output {file}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Memory of the pieces that are not written yet, in bytes."""
        return self._put - self._written

    def put(self, piece: Piece) -> None:
        """Queue a piece. Any thread may call it."""
        with self._lock:
            self._put += piece.size
        self._pieces.put(piece)

    def close(self, seconds: float) -> bool:
        """Write what waits, for up to this many seconds; returns whether all of it was written or refused."""
        self._pieces.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        last = False
        while not last:
            batch, last = self._gathered()
            self._write(batch)
            self._written += sum(piece.size for piece in batch)
            if self.waiting < BATCH_BYTES and not last:
                time.sleep(PAUSE)
        self.ended = True

    def _gathered(self) -> tuple[list[Piece], bool]:
        """Return the pieces of the next write, and whether it is the last; waits for the first piece."""
        batch: list[Piece] = []
        size = 0
        with suppress(Empty):
            while size < BATCH_BYTES:
                piece = self._pieces.get(block=not batch)
                if piece is None:
                    return batch, True
                batch.append(piece)
                size += len(piece.data)
        return batch, False

    def _write(self, batch: list[Piece]) -> None:
        """Write a batch; one that the system refuses (no reader, a full disk) is lost."""
        left = memoryview(b"".join([piece.data for piece in batch]))
        try:
            while left:
                left = left[self._write_some(left) :]
        except OSError:
            self.failing = True
            for piece in batch:
                piece.output.refused += piece.lines
        else:
            self.failing = False

    def _write_some(self, data: memoryview) -> int:
        """Write a part; waits for room also where another process made the file non-blocking."""
        try:
            return os.write(self._file, data)
        except BlockingIOError:
            room = select.poll()
            room.register(self._file, select.POLLOUT)
            room.poll()
            return 0


class Output(io.TextIOBase):
    """A text stream that does not block. Calls of ``write`` do not overlap: the handler of the log has a lock.

    Attributes:
        label: ``stdout`` or ``stderr``.
        writer: the queue of its file, which may be that of the other stream too.
        overflowed: lines that were dropped, as the queue was full.
        refused: lines that the system did not take.
    """

    def __init__(self, label: str, stream: TextIO, writer: Writer) -> None:
        self.label = label
        self.overflowed = self.refused = 0
        self.writer = writer
        self._stream = stream
        self._room = QUEUE_BYTES[label]
        self._full = False
        self._told = 0

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self.overflowed + self.refused

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the text."""
        return self._stream.encoding

    def isatty(self) -> bool:
        """Whether the lines go to a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Queue text. Once the queue is full, it is dropped until half of what waits was written."""
        if self.writer.ended:
            return self._stream.write(text)
        piece = Piece(text.encode(self._stream.encoding, "backslashreplace"), text.count("\n"), self)
        room = self._room // 2 if self._full else self._room
        self._full = self.writer.waiting + piece.size > room
        if self._full:
            self.overflowed += piece.lines
        else:
            self.report()
            self.writer.put(piece)
        return len(text)

    def report(self) -> None:
        """Log how many lines were dropped, if some were since the last time and the file takes more again."""
        lines = self.dropped - self._told
        if lines and not self.writer.failing:
            self._told += lines
            log.warning("lines of the log were dropped, as they were not read", stream=self.label, lines=lines)


_outputs: list[Output] = []
_gathered: list[Callable[[], None]] = []


def before_end(write: Callable[[], None]) -> None:
    """Have this called before the last write, also where the process ends at once: it writes what it has gathered."""
    _gathered.append(write)


def dropped_lines() -> list[tuple[str, int]]:
    """Return the number of dropped lines by stream."""
    return [(output.label, output.dropped) for output in _outputs]


@contextmanager
def queued_output() -> Iterator[None]:
    """Replace ``sys.stdout`` and ``sys.stderr``; at the end what waits is written, for ``FLUSH_SECONDS``.

    They stay replaced where that fails, since a traceback at the end of the process would wait for ever.
    """
    open_closed_streams()
    streams = {name: getattr(sys, name) for name in QUEUE_BYTES}
    writers: dict[tuple[int, int], Writer] = {}
    for name, stream in streams.items():
        file = _file_of(stream)
        if file is not None:
            stat = os.fstat(file)
            same = (stat.st_dev, stat.st_ino)  # one file has one writer: two would tear each other's lines
            writer = writers[same] = writers.get(same) or Writer(file)
            _outputs.append(Output(name, stream, writer))
            setattr(sys, name, _outputs[-1])
    try:
        yield
    finally:
        if flush():
            for name, stream in streams.items():
                setattr(sys, name, stream)
            _outputs.clear()


def open_closed_streams() -> None:
    """Open /dev/null for stdin, stdout and stderr where the parent has closed them (``>&-``).

    Their descriptors would be those of the first files of the event loop, and libuv aborts when it closes one of them.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) < STANDARD_STREAMS:
        pass
    os.close(file)
    for number, name in enumerate(QUEUE_BYTES, 1):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 -- a descriptor, until the end


def flush() -> bool:
    """End the writers, once all that waits is written or after ``FLUSH_SECONDS``; returns whether it was in time."""
    while _gathered:
        _gathered.pop()()
    for output in _outputs:
        output.report()
    ends = time.monotonic() + FLUSH_SECONDS
    writers = {id(output.writer): output.writer for output in _outputs}
    late = [writer for writer in writers.values() if not writer.close(max(0.0, ends - time.monotonic()))]
    return not late


def _file_of(stream: TextIO | None) -> int | None:
    """Return the descriptor of a stream; None for a closed one, and for one that is no file."""
    if stream is None:
        return None
    with suppress(OSError, ValueError):
        stream.flush()
        os.fstat(stream.fileno())
        return stream.fileno()
    return None
