"""The others: a client that asks 100 times a second, and what it saw."""

import math
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from statistics import median
from typing import Final, NamedTuple

import hpack

from testkit.server import Subject

from .frames import DATA, END_STREAM, HEADERS, WATCH, block, call, data, frame, prefixed, request, start

PERIOD: Final = 0.01
"""Seconds between two asks: Envoy's 100 calls a second of a quiet sidecar."""

PATIENCE: Final = 2.0
"""Seconds after which an ask has failed."""

KEYS: Final = 1_000
"""Different counters that are asked for."""

RARELY: Final = 10
"""Asks for each one that takes a new connection, or looks at the liveness probe."""


class Reading(NamedTuple):
    """What others saw: the seconds that each ask took, and why asks failed."""

    took: Sequence[float]
    failed: Sequence[str] = ()

    @property
    def p50(self) -> float:
        """Median in seconds; nan without an answer."""
        return median(self.took) if self.took else math.nan

    @property
    def p99(self) -> float:
        """99th percentile in seconds; nan without an answer."""
        return sorted(self.took)[math.ceil(0.99 * len(self.took)) - 1] if self.took else math.nan


class Caller:
    """A connection of the gRPC port, for one call at a time. Raises OSError if it is refused or lost."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = hpack.Decoder()
        self._rest = b""
        self._last = -1
        self._socket.sendall(start())

    def call(self, body: bytes) -> str:
        """Make a call; return its grpc-status."""
        self._last += 2
        self._socket.sendall(call(self._last, body, HEAD))
        return self._status(END_STREAM)

    def watch(self) -> str:
        """Open a health Watch; return 0 when its first message has arrived, or the status with which it ended."""
        self._last += 2
        self._socket.sendall(
            frame(HEADERS, 4, self._last, block(WATCH)) + data(self._last, prefixed(b"")),
        )
        return self._status(0)

    def _status(self, flag: int) -> str:
        """Read until a frame of the last call that has this flag, or any DATA without one; return what it says."""
        while True:
            kind, flags, stream, payload = self._frame()
            if kind == HEADERS:
                fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
                if stream == self._last and flags & END_STREAM:
                    return fields.get("grpc-status", "no status")
            elif kind == DATA and stream == self._last and not flag:
                return "0"

    def _frame(self) -> tuple[int, int, int, bytes]:
        while len(self._rest) < 9 or len(self._rest) < 9 + int.from_bytes(self._rest[:3], "big"):
            more = self._socket.recv(1 << 16)
            if not more:
                raise ConnectionResetError("closed by the server")
            self._rest += more
        end = 9 + int.from_bytes(self._rest[:3], "big")
        head, payload, self._rest = self._rest[:9], self._rest[9:end], self._rest[end:]
        return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


HEAD: Final = block()
BODIES: Final = [request(("user", f"u{n}")) for n in range(KEYS)]


class Victim:
    """Asks in one of three ways; the connection stays from one phase to the next."""

    def __init__(self, subject: Subject, kind: str) -> None:
        self._subject = subject
        self._ask = self._kinds()[kind]
        self._caller = Caller(subject.address)
        self._number = count()

    def _kinds(self) -> Mapping[str, Callable[[int], str]]:
        return {"calls": self._call, "connections": self._connect, "watches": self._watch}

    def _call(self, number: int) -> str:
        return self._caller.call(BODIES[number % KEYS])

    def _connect(self, number: int) -> str:
        """Call, at times on a new connection; and look at the liveness probe, on a new one too."""
        if number % RARELY == 0:
            self._caller.close()
            self._caller = Caller(self._subject.address)
        if number % RARELY == 5:
            with urllib.request.urlopen(f"http://{self._subject.http}/livez", timeout=PATIENCE) as answer:
                return "0" if answer.status == 200 else f"/livez {answer.status}"
        return self._call(number)

    def _watch(self, number: int) -> str:
        """Call, and at times watch the health, on a new connection."""
        if number % RARELY:
            return self._call(number)
        caller = Caller(self._subject.address)
        try:
            return caller.watch()
        finally:
            caller.close()

    def ask(self, seconds: float) -> Reading:
        """Ask for so long. The time of an ask begins when it was due; one that fails has none."""
        took, failed = [], []
        first = time.monotonic()
        for n in range(int(seconds / PERIOD)):
            due = first + n * PERIOD
            time.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() > first + seconds + PATIENCE:
                failed.append("not asked: the asks before it took too long")
                continue
            why = self._answer(next(self._number))
            if why == "0":
                took.append(time.monotonic() - due)
            else:
                failed.append(why)
        return Reading(took, failed)

    def _answer(self, number: int) -> str:
        try:
            return self._ask(number)
        except OSError as error:
            self._caller.close()
            with suppress(OSError):
                self._caller = Caller(self._subject.address)
            return repr(error)

    def close(self) -> None:
        """Close its connection."""
        self._caller.close()
