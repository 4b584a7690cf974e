"""A Redis that greets as a real one does, and lies in its replies to script calls."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Final

import hiredis

from .attacker import Attacker

HELLO: Final = b"*8\r\n+server\r\n+redis\r\n+version\r\n+7.0.0\r\n+mode\r\n+%s\r\n+role\r\n+master\r\n"
GREETED: Final = frozenset(
    b"SCRIPT TIME SET GET PTTL PEXPIRE DEL ZADD ZCARD ZCOUNT ZRANGE ZREMRANGEBYRANK SELECT AUTH".split()
)
TRIAL: Final = b"rl1:trial:"
HOSTS: Final = 4_096
CHUNK: Final = bytes(1 << 18)

Lie = Callable[[], Iterator[bytes]]


def _bulk() -> Iterator[bytes]:
    yield b"$536870912\r\n"
    yield from repeat(CHUNK, (512 << 20) // len(CHUNK))


def _array() -> Iterator[bytes]:
    yield b"*2147483647\r\n"


def _slots() -> bytes:
    """Return the reply to CLUSTER SLOTS: each of 4,096 hosts has four slots, and listens nowhere."""
    wide = 16_384 // HOSTS
    rows = (
        b"*3\r\n:%d\r\n:%d\r\n*2\r\n$%d\r\n%s\r\n:1\r\n" % (n * wide, n * wide + wide - 1, len(host), host)
        for n, host in enumerate(b"127.1.%d.%d" % (n // 256, n % 256) for n in range(HOSTS))
    )
    return b"*%d\r\n" % HOSTS + b"".join(rows)


def redis_bulk(attacker: Attacker) -> None:
    """Redis replies with a string of 512 MiB."""
    _lie(attacker, _bulk)


def redis_array(attacker: Attacker) -> None:
    """Redis replies with the beginning of an array of 2^31 places, in 13 bytes."""
    _lie(attacker, _array)


def redis_hosts(attacker: Attacker) -> None:
    """CLUSTER SLOTS names 4,096 hosts."""
    _lie(attacker, _array, _slots())


def _lie(attacker: Attacker, lie: Lie, slots: bytes = b"") -> None:
    attacker.ready()
    asyncio.run(_serve(attacker, lie, slots))


async def _serve(attacker: Attacker, lie: Lie, slots: bytes) -> None:
    hello = HELLO % (b"cluster" if slots else b"standalone")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        try:
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (words := parser.gets()) is not False:
                    for out in _reply(words, hello, lie, slots):
                        attacker.sent += len(out)
                        writer.write(out)
                        await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", attacker.target.redis)
    while attacker.going:
        await asyncio.sleep(0.05)
    server.close()


def _reply(words: "list[bytes]", hello: bytes, lie: Lie, slots: bytes) -> Iterator[bytes]:
    if words[0] == b"HELLO":
        yield hello
    elif words[0] == b"CLUSTER":
        yield slots
    elif words[0] in GREETED:
        yield b"+OK\r\n"
    elif words[2:3] == [b"0"]:  # the script, without keys
        yield b"*1\r\n:1\r\n"
    elif words[3:4] and words[3].startswith(TRIAL):
        yield b"-ERR no trial here\r\n"
    else:
        yield from lie()
