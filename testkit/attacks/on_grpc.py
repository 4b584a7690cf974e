"""Attacks on the gRPC port."""

import gzip
from collections.abc import Iterable
from typing import Final

from testkit.server import METHOD

from .attacker import Attacker, Peer
from .frames import (
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    REFLECTION,
    RST_STREAM,
    SETTINGS,
    WATCH,
    WINDOW_UPDATE,
    Calls,
    block,
    data,
    frame,
    header,
    kept,
    prefixed,
    request,
)

TOO_MANY: Final = 1_020
"""Open calls of a connection: a few less than the server's bound of 1,024."""

BATCH: Final = 100
"""Frames in one write of a flood: enough that the attacker's system calls do not bound it."""

LARGEST_BOMB: Final = 16_000
"""Bytes of a message that fits in a frame; zeros decompress to a thousand times as much."""

CANCEL: Final = (8).to_bytes(4, "big")

MESSAGE_BYTES: Final = 128 << 10
"""``GRPC_MAX_REQUEST_BYTES`` by default: the largest message that is taken."""


def _bursts(attacker: Attacker, bodies: list[bytes], head: bytes, flag: int = 0) -> None:
    """Send all calls in one write, wait for the answers, and again."""
    calls = Calls(bodies, head, flag)
    attacker.ready()
    peer = attacker.grpc()
    while attacker.going:
        if peer.closed:
            attacker.every(0.02)
            peer = attacker.grpc()
        peer.ask(calls)


def burst(attacker: Attacker) -> None:
    """1,000 different calls in one write."""
    _bursts(attacker, [request(("tenant", f"burst-{n}")) for n in range(1_000)], block())


def wide(attacker: Attacker) -> None:
    """200 different calls of 64 descriptors in one write."""
    _bursts(attacker, [request(("tenant", f"wide-{n}"), times=64) for n in range(200)], block())


def compressed(attacker: Attacker) -> None:
    """1,000 calls in one write, each of 200 bytes that decompress to the largest message: an unknown field."""
    filler = MESSAGE_BYTES - 32
    size = bytes((filler & 127 | 128, filler >> 7 & 127 | 128, filler >> 14))
    whole = request(("tenant", "packed")) + b"\x9a\x06" + size + bytes(filler)  # field 99
    _bursts(attacker, [gzip.compress(whole)] * 1_000, block(METHOD, ("grpc-encoding", "gzip")), 1)


def reflection(attacker: Attacker) -> None:
    """16 reflection streams of a connection, filled with messages of 5 bytes as fast as the window permits."""
    some = prefixed(b"") * 3_200
    attacker.ready()
    peer = attacker.grpc()
    streams: list[int] = []
    while attacker.going:
        if peer.closed or not streams:
            attacker.every(0.01)
            peer = attacker.grpc() if peer.closed else peer
            streams = peer.open(16, block(REFLECTION))
            peer.credit.update(dict.fromkeys(streams, 65_535))
        for stream in streams:
            if min(peer.credit[stream], peer.credit[0]) >= len(some):
                peer.send(data(stream, some, end=False))
                peer.credit[stream] -= len(some)
                peer.credit[0] -= len(some)
        peer.answered(peer.answers + 1, 0.002)


def watch(attacker: Attacker) -> None:
    """Ten connections, each with 100 health Watch streams, all that the server has; what ends is opened again."""
    attacker.ready()
    peers = [attacker.grpc() for _ in range(10)]
    opened = dict.fromkeys(peers, 0)
    while attacker.going:
        for peer in peers:
            peer.read()
            gone = 100 - (opened[peer] - peer.answers)
            if not peer.closed and gone > 0:
                opened[peer] += gone
                for stream in peer.open(gone, block(WATCH)):
                    peer.send(data(stream, prefixed(b"")))
        attacker.every(0.1)


_LARGE: Final = header("x", "v" * 3_900, keep=True)
_REFERENCE: Final = b"\xbe"  # the newest entry of the dynamic table


def _heads(blocks: list[bytes]) -> bytes:
    return b"".join(frame(HEADERS, END_HEADERS, 1 + 2 * n, head) for n, head in enumerate(blocks))


def hpack_reconnects(attacker: Attacker) -> None:
    """47 connections a second, each with a header of 3.9 kB and 10,000 references to it, a byte each."""
    out = _heads([block() + _LARGE, b"\x83\x86" + _REFERENCE * 10_000])
    attacker.ready()
    while attacker.going:
        peer = attacker.grpc(out)
        peer.ended(0.05)
        peer.close()
        attacker.every(1 / 47)


def hpack_within(attacker: Attacker) -> None:
    """4,000 calls a second, each with two references to a header of 3.9 kB, and reset: within the frame budget."""
    attacker.ready()
    peer = attacker.grpc()
    fresh = True
    while attacker.going:
        if peer.closed:
            peer, fresh = attacker.grpc(), True
        streams = peer.streams(BATCH)
        heads = [block() + _LARGE if fresh and n == 0 else block() + _REFERENCE * 2 for n in range(BATCH)]
        fresh = False
        calls = (frame(HEADERS, END_HEADERS, n, head) for n, head in zip(streams, heads, strict=True))
        peer.send(b"".join(each + frame(RST_STREAM, 0, n, CANCEL) for n, each in zip(streams, calls, strict=True)))
        peer.read()
        attacker.every(BATCH / 4_000)


def settings(attacker: Attacker) -> None:
    """Five connections with 1,020 half-open calls and 9,000 SETTINGS that change their window, new ones each second."""
    heads = _heads([block(keep=True), *[kept()] * (TOO_MANY - 1)])
    sizes = (frame(SETTINGS, 0, 0, b"\x00\x04" + (60_000 + n % 2).to_bytes(4, "big")) for n in range(450))
    out = b"".join(sizes)
    attacker.ready()
    while attacker.going:
        peers = [attacker.grpc(heads) for _ in range(5)]
        for _ in range(20):
            for peer in peers:
                peer.send(out)
                peer.read()
            attacker.every(0.05)
        for peer in peers:
            peer.close()


def half_open(attacker: Attacker) -> None:
    """100 connections with 1,020 calls each whose request never comes, 15 bytes a call."""
    attacker.ready()
    peers = [attacker.grpc() for _ in range(100)]
    for peer in peers:
        peer.open(TOO_MANY, block(keep=True), kept())
    attacker.rest(*peers)


def unfinished(attacker: Attacker) -> None:
    """32 connections, each with 256 messages that lack their last bytes, as much as the windows permit."""
    part = ((MESSAGE_BYTES - 1).to_bytes(5, "big") + bytes(MESSAGE_BYTES - 1))[: 3 * 16_384]
    attacker.ready()
    peers = [attacker.grpc() for _ in range(32)]
    left = {peer: peer.open(256, block(keep=True), kept()) for peer in peers}
    while attacker.going:
        for peer in peers:
            peer.read()
            while left[peer] and peer.credit[0] >= len(part) and not peer.closed and attacker.going:
                peer.credit[0] -= len(part)
                peer.send(data(left[peer].pop(), part, end=False))
        attacker.every(0.01)


def rapid_reset(attacker: Attacker) -> None:
    """Calls that are reset at once, as fast as connections allow."""
    attacker.ready()
    while attacker.going:
        peer = attacker.grpc()
        while attacker.going and not peer.closed:
            streams = peer.streams(BATCH)
            heads = (frame(HEADERS, END_HEADERS, n, block()) + frame(RST_STREAM, 0, n, CANCEL) for n in streams)
            peer.send(b"".join(heads))
            peer.read()


def _within_rate(attacker: Attacker, each: bytes, streams: int = 0) -> None:
    """A frame without use, 9,000 times a second, which the frame budget permits."""
    attacker.ready()
    peer = attacker.grpc()
    if streams:
        peer.open(streams, block(keep=True), kept())
    while attacker.going:
        peer.send(each * BATCH)
        peer.read()
        attacker.every(BATCH / 9_000)


def pings(attacker: Attacker) -> None:
    """9,000 PINGs a second."""
    _within_rate(attacker, frame(PING, 0, 0, bytes(8)))


def empty_data(attacker: Attacker) -> None:
    """9,000 empty DATA frames a second on a half-open call."""
    _within_rate(attacker, frame(DATA, 0, 1), 1)


def window_updates(attacker: Attacker) -> None:
    """9,000 WINDOW_UPDATEs of one byte a second on a half-open call."""
    _within_rate(attacker, frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")), 1)


def bombs(attacker: Attacker) -> None:
    """Calls of 16 kB, one after the other, whose messages would decompress to 16 MB."""
    bomb = Calls([gzip.compress(bytes(100_000_000), 9)[:LARGEST_BOMB]], block(METHOD, ("grpc-encoding", "gzip")), 1)
    attacker.ready()
    peer = attacker.grpc()
    while attacker.going:
        peer.ask(bomb)


def unread(attacker: Attacker) -> None:
    """Calls of 64 descriptors as fast as they are taken, on ten connections that read nothing."""
    calls = Calls([request(("tenant", f"unread-{n}"), times=64) for n in range(50)], block())
    attacker.ready()
    peers: list[Peer] = []
    while attacker.going:
        peers = [peer for peer in peers if not peer.closed]
        peers += [attacker.grpc(reads=False, buffer=4_096) for _ in range(10 - len(peers))]
        for peer in peers:
            if peer.pushed():
                peer.push(calls.on(peer.streams(calls.size)))
        attacker.every(0.005)


def _invented(attacker: Attacker, bodies: Iterable[bytes]) -> None:
    """Send 50 batches of a hundred calls a second, none of them twice."""
    rest = list(bodies)
    batches = [Calls(rest[at : at + BATCH], block()) for at in range(0, len(rest), BATCH)]
    attacker.ready()
    peer = attacker.grpc()
    for batch in batches:
        peer.ask(batch)
        attacker.every(0.02)
    attacker.rest(peer)


def new_keys(attacker: Attacker) -> None:
    """5,000 calls a second with values that were never used."""
    _invented(attacker, (request(("tenant", f"new-{n}")) for n in range(20_000)))


def series(attacker: Attacker) -> None:
    """10,000 calls with overrides and 32 entries of 240 characters: each is a metric series of its own."""
    entries = [(f"{n:03d}" + "k" * 117, "v" * 120) for n in range(31)]
    _invented(attacker, (request((f"s{n}", "v"), *entries, limit=9) for n in range(10_000)))
