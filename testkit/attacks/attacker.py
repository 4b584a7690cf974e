"""What attacks are made with: connections that are sent prepared bytes, and the cost of doing so."""

import re
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from testkit.attacks.frames import END_HEADERS, HEADERS, WINDOW, Calls, frame, start

SEEN: Final = re.compile(rb"\x00\x00\x04\x08\x00(.{4})(.{4})|\x01\x05\x00", re.DOTALL)
"""A WINDOW_UPDATE, and HEADERS that end a stream; searched for, as an attacker has no time to read."""

CONNECT_SECONDS: Final = 1.0
"""Timeout of a connection attempt; a full backlog leaves SYNs unanswered."""


class Target(NamedTuple):
    """What is attacked: addresses as host:port, the process and its policy file, and the port for a Redis that lies."""

    grpc: str = ""
    http: str = ""
    debug: str = ""
    pid: int = 0
    policy: str = ""
    redis: int = 0


class Peer:
    """A connection of the attacker. Everything that it is sent is read, unless ``reads`` is False."""

    def __init__(self, attacker: "Attacker", address: str, *, reads: bool = True, buffer: int = 0) -> None:
        host, _, port = address.rpartition(":")
        self._attacker = attacker
        self._rest = b""
        self._unsent = memoryview(b"")
        self.reads = reads
        self.closed = False
        self.answers = 0
        self.received = 0
        self.last = -1
        self.credit: Counter[int] = Counter({0: WINDOW})
        self._socket = socket.socket()
        if buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.settimeout(CONNECT_SECONDS)
        try:
            self._socket.connect((host, int(port)))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.close()
        self._socket.setblocking(False)

    def send(self, out: bytes) -> None:
        """Send all of it, at once as far as there is room; read meanwhile, so that neither side waits for the other."""
        self._unsent = memoryview(out)
        while not self.pushed() and not self.closed and self._attacker.going:
            self._wait(select.POLLOUT | (select.POLLIN if self.reads else 0))

    def push(self, out: bytes) -> None:
        """Send what there is room for; ``pushed`` sends the rest."""
        self._unsent = memoryview(out)
        self.pushed()

    def pushed(self) -> bool:
        """Send on, without waiting; return whether nothing is left."""
        try:
            while self._unsent and not self.closed:
                sent = self._socket.send(self._unsent)
                self._attacker.sent += sent
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            return False
        except OSError:
            self.close()
        return True

    def read(self) -> None:
        """Read what has arrived."""
        while self.reads and not self.closed:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self.received += len(data)
            self._look(self._rest + data)

    def _look(self, data: bytes) -> None:
        end = 0
        for found in SEEN.finditer(data):
            end = found.end()
            if found[1] is None:
                self.answers += 1
            else:
                self.credit[int.from_bytes(found[1], "big")] += int.from_bytes(found[2], "big")
        self._rest = data[max(end, len(data) - 12) :]

    def ask(self, calls: Calls) -> None:
        """Send calls in one write, and wait for their answers."""
        due = self.answers + calls.size
        self.send(calls.on(self.streams(calls.size)))
        self.answered(due)

    def answered(self, number: int, seconds: float = 1.0) -> None:
        """Wait until so many calls of this connection have been answered, or for so long."""
        self._until(lambda: self.answers >= number, seconds)

    def heard(self, seconds: float) -> bool:
        """Wait until anything arrives, or for so long; return whether it did."""
        before = self.received
        self._until(lambda: self.received > before, seconds)
        return self.received > before

    def ended(self, seconds: float) -> None:
        """Wait until the server has ended the connection, or for so long."""
        self._until(lambda: self.closed, seconds)

    def _until(self, true: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not (true() or self.closed) and self._attacker.going and time.monotonic() < until:
            self._wait(select.POLLIN)

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._socket, events)
        for _, ready in poll.poll(100):
            if ready & ~select.POLLOUT:
                self.read()

    def streams(self, number: int) -> list[int]:
        """Return the identifiers of as many new streams."""
        self.last += 2 * number
        return [*range(self.last - 2 * number + 2, self.last + 1, 2)]

    def open(self, number: int, first: bytes, later: bytes = b"") -> list[int]:
        """Send the headers of new calls without their end; ``later`` is the block of all but the first."""
        streams = self.streams(number)
        blocks = [first, *[later or first] * (number - 1)]
        self.send(b"".join(frame(HEADERS, END_HEADERS, n, head) for n, head in zip(streams, blocks, strict=True)))
        return streams

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        self._socket.close()


class Attacker:
    """Time, connections and costs of an attack."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.sent = 0
        self._until = 0.0
        self._next = 0.0
        self._cpu = 0.0

    def ready(self) -> None:
        """Wait for the line with the seconds to attack for; what is sent has been made by now."""
        print("ready", flush=True)
        self.begin(float(sys.stdin.readline()))

    def begin(self, seconds: float) -> None:
        """Attack for so long from now on."""
        self._next = time.monotonic()
        self._until = self._next + seconds
        self._cpu = time.process_time()

    @property
    def cpu(self) -> float:
        """CPU seconds of the attack so far."""
        return time.process_time() - self._cpu

    @property
    def going(self) -> bool:
        """Whether the attack goes on."""
        return time.monotonic() < self._until

    def every(self, seconds: float) -> None:
        """Wait until so long after the last time; time that was lost is not made up for."""
        now = time.monotonic()
        self._next = max(self._next + seconds, now - seconds)
        time.sleep(max(0.0, min(self._next, self._until) - now))

    def grpc(self, first: bytes = b"", *, reads: bool = True, buffer: int = 0) -> Peer:
        """Connect to the gRPC port, and send the preface and ``first``."""
        peer = Peer(self, self.target.grpc, reads=reads, buffer=buffer)
        peer.send(start() + first)
        return peer

    def plain(self, address: str, first: bytes = b"", *, reads: bool = True, buffer: int = 0) -> Peer:
        """Connect to any port, and send ``first``."""
        peer = Peer(self, address, reads=reads, buffer=buffer)
        peer.send(first)
        return peer

    def rest(self, *peers: Peer) -> None:
        """Hold connections until the end."""
        while self.going:
            for peer in peers:
                peer.read()
            self.every(0.05)
