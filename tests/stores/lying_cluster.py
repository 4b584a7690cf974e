"""A cluster of one server that says what a test wants: which nodes there are, and where a key has moved."""

import asyncio

import hiredis

HELLO = b"*6\r\n+version\r\n+7.0.0\r\n+mode\r\n+cluster\r\n+role\r\n+master\r\n"
REPLY = b"*6\r\n:1\r\n:1\r\n:9\r\n:5\r\n:0\r\n:0\r\n"
SLOTS = 16_384

ALONE = 7
"""Words of a script call without keys: those of a handshake."""


class LyingNode:
    """A server; ``commands`` has all that it was sent, ``accepted`` counts connections.

    Attributes:
        slots: its reply to CLUSTER SLOTS; by default it has all slots.
        nodes: its reply to CLUSTER NODES.
        charged: its reply to a charge.
        undeclared: its reply to charges whose keys are not declared.
    """

    def __init__(self):
        self.commands = []
        self.accepted = 0
        self.port = 0
        self.slots = b""
        self.nodes = b"-NOPERM no permissions\r\n"
        self.charged = REPLY
        self.undeclared = b"-ERR no trial here\r\n"
        self._server = None
        self._writers = []

    @property
    def address(self):
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    async def start(self):
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.slots = encoded([[0, SLOTS - 1, [b"127.0.0.1", self.port, b"id"]]])
        return self

    async def close(self):
        """Stop, and close what is open."""
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader, writer):
        self.accepted += 1
        self._writers.append(writer)
        parser = hiredis.Reader(notEnoughData=None)
        try:
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (words := parser.gets()) is not None:
                    self.commands.append(words)
                    writer.write(self._reply(words))
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _reply(self, words):
        match words[:2]:
            case [b"HELLO", *_]:
                return HELLO
            case [b"CLUSTER", b"SLOTS"]:
                return self.slots
            case [b"CLUSTER", b"NODES"]:
                return self.nodes
            case [b"EVALSHA", _] if words[2] == b"0":
                return self.undeclared if len(words) > ALONE else b"*1\r\n:1\r\n"
            case [b"EVALSHA", _]:
                return self.charged
        return b"+OK\r\n"


def encoded(value):
    """A reply of Redis."""
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))
    return b":%d\r\n" % value if isinstance(value, int) else b"$%d\r\n%b\r\n" % (len(value), value)


def masters(number):
    """A reply to CLUSTER SLOTS with this many masters, none of which exists."""
    ends = [SLOTS * turn // number for turn in range(number + 1)]
    return encoded(
        [[ends[turn], ends[turn + 1] - 1, [b"127.0.1.%d" % (turn % 250), 1 + turn, b"id"]] for turn in range(number)]
    )
