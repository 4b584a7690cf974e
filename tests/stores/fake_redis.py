"""A Redis that misbehaves in ways a real one cannot be made to; it greets, then does as a test says."""

import asyncio
from collections.abc import Callable

import hiredis

Behaviour = Callable[[list[bytes], asyncio.StreamWriter], None]
"""Called with each command after the greeting, and where to write."""


HELLO = b"*8\r\n+server\r\n+redis\r\n+version\r\n+7.0.0\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n"

GREETINGS = dict.fromkeys(
    b"SCRIPT TIME SET INCRBY GET PTTL PEXPIRE DEL ZADD ZCARD ZCOUNT ZRANGE ZREMRANGEBYRANK".split(), b"+OK\r\n"
) | {b"HELLO": HELLO}
"""What it says to the words of a greeting, and to a script call without keys: that all is well."""

TRIAL = b"rl1:trial:"
NO_TRIAL = b"-ERR no trial here\r\n"
"""What it says to the trial of a new connection, so that a test sees its own calls alone."""


class FakeRedis:
    """Listens on one socket once started; close its clients before it. ``tried`` is set by a trial."""

    def __init__(self, folder):
        self.path = str(folder / "fake.sock")
        self._server: asyncio.Server | None = None
        self._behave: Behaviour = lambda _words, _writer: None
        self._greetings = GREETINGS
        self._trial = NO_TRIAL
        self._serving: list[asyncio.Task[None]] = []
        self.tried = asyncio.Event()

    async def start(self, behave, unknown=(), trial=NO_TRIAL):
        """Listen, and return the path of the socket; the words in ``unknown`` are not greeted, but passed on."""
        self._behave = behave
        self._trial = trial
        self._greetings = {word: reply for word, reply in GREETINGS.items() if word not in unknown}
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        return self.path

    def _accept(self, reader, writer):
        self._serving.append(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader, writer):
        parser = hiredis.Reader(notEnoughData=None)
        try:
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (words := parser.gets()) is not None:
                    if (greeted := self._greetings.get(words[0])) is not None or words[2:3] == [b"0"]:
                        writer.write(greeted or b"*1\r\n:1\r\n")
                    elif b"".join(words[3:4]).startswith(TRIAL):
                        writer.write(self._trial)
                        self.tried.set()
                    else:
                        self._behave(words, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def close(self):
        """Stop listening, and wait until every client's end was seen."""
        if self._server is not None:
            for _ in range(3):  # connections that wait in the backlog are accepted first, or they would leak
                await asyncio.sleep(0)
            self._server.close()
            await asyncio.gather(*self._serving)
            await asyncio.sleep(0)
