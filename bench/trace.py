"""A load that records every call, for questions that percentiles cannot answer."""

import math
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.load import build
from ratelimitd.proto import message
from testkit.errors import BenchError
from testkit.machine import pinned
from testkit.server import METHOD

RECORD: Final = struct.Struct("<QQQIBB2x64s")
"""``struct record`` of load.c."""

PREFIX: Final = 5
"""Size in bytes of the gRPC prefix of a message."""

OK: Final = 1
"""RateLimitResponse.Code of an admitted request."""

UNDECIDED: Final = 0.1
"""Seconds before the end of a load in which unanswered calls are ignored: their answers may have been on the way."""

ENDLESS: Final = 86_400.0
"""Duration in seconds of a load that runs until it is stopped."""


class Call(NamedTuple):
    """One call; times are wall-clock seconds.

    Attributes:
        due: when it was scheduled.
        sent: when it was sent.
        done: when it was answered; infinity if it was not.
        frame: index of the request.
        status: gRPC status; 17 if the call ended without one.
        answer: encoded RateLimitResponse.
    """

    due: float
    sent: float
    done: float
    frame: int
    status: int
    answer: bytes

    @property
    def took(self) -> float:
        """Seconds from when it was due until it was answered."""
        return self.done - self.due

    @property
    def failed(self) -> bool:
        """Whether it received no decision."""
        return self.status != 0 or self.done == math.inf

    @property
    def admitted(self) -> bool:
        """Whether the answer is OK."""
        return not self.failed and self.answer[:2] == bytes((0x08, OK))

    @property
    def remaining(self) -> int:
        """Remaining hits of the first status; 0 for a failed call."""
        if self.failed:
            return 0
        read = message("envoy.service.ratelimit.v3.RateLimitResponse").FromString(self.answer)
        return int(read.statuses[0].limit_remaining)


class Tracer:
    """A load with evenly spaced calls that runs until it is ended."""

    def __init__(
        self, address: str, frames: Iterable[bytes], core: int, *, rate: float, connections: int = 2, streams: int = 128
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench")
        self._trace = Path(self._folder.name, "trace")
        requests = Path(self._folder.name, "frames")
        requests.write_bytes(b"".join(frames))
        host, _, port = address.rpartition(":")
        numbers = (connections, streams, ENDLESS, 0, 0, rate, "grpc", self._trace)
        words = [host.strip("[]"), port, METHOD, str(requests), *map(str, numbers)]
        self._process = subprocess.Popen(
            pinned(core, [str(build().absolute()), *words]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise BenchError(f"the load ended early: {self._process.communicate()[1].strip()}")

    def end(self) -> list[Call]:
        """Stop the load, and return its calls ordered by due time."""
        latest = time.time() - UNDECIDED
        self._process.terminate()
        self._process.communicate()
        calls = read(self._trace.read_bytes())
        self._folder.cleanup()
        return [call for call in calls if call.done < math.inf or call.due < latest]


def read(data: bytes) -> list[Call]:
    """Return the calls of a trace; a partial record at the end, from a load that was killed, is ignored."""
    ahead = time.time() - time.monotonic()
    whole = len(data) - len(data) % RECORD.size
    return sorted(
        Call(
            due / 1e9 + ahead,
            sent / 1e9 + ahead,
            done / 1e9 + ahead if done else math.inf,
            frame,
            status,
            head[PREFIX:size],
        )
        for due, sent, done, frame, status, size, head in RECORD.iter_unpack(data[:whole])
    )


def percentile(calls: Sequence[Call], part: float = 0.99) -> float:
    """Return the seconds within which this part of the calls was answered; nan if there are no calls."""
    took = sorted(call.took for call in calls)
    return took[min(len(took) - 1, math.ceil(part * len(took)) - 1)] if took else math.nan


def longest(calls: Sequence[Call]) -> float:
    """Return the seconds that the longest call took; nan if there are no calls."""
    return max((call.took for call in calls), default=math.nan)


def lag(calls: Sequence[Call]) -> float:
    """Return the largest lateness of the load itself in seconds; it cannot explain calls that took longer."""
    return max((call.sent - call.due for call in calls), default=0.0)


def between(calls: Iterable[Call], begin: float, end: float) -> list[Call]:
    """Return the calls that were due from ``begin`` to before ``end``."""
    return [call for call in calls if begin <= call.due < end]
