"""Bytes that pretend to be a Redis' replies, into the store."""

import asyncio
import gc
from contextlib import suppress
from typing import Any, NamedTuple

import hiredis
import pytest
from hypothesis import strategies as st

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter.seam import Ask, Charge, Failure, Plan, Rule
from ratelimitd.policy import Limit
from ratelimitd.stores.redis import RedisStore
from tests.algorithms.cases import NOW
from tests.fuzz.documents import mostly
from tests.fuzz.replies import CLOSES, GREETINGS, OWN, answers, any_reply, written
from tests.fuzz.runs import LEAST_SHARE, Seen, fuzz
from tests.redis_options import store_of

pytestmark = [pytest.mark.slow, pytest.mark.alone]

EXAMPLES = 250
BUDGET = 0.1
PATIENCE = 20.0
"""Seconds until an ask that was not handed on fails the test."""

HOUR = 3_600_000_000
GREETED = set(b"SCRIPT TIME SET INCRBY GET PTTL PEXPIRE DEL ZADD ZCARD ZCOUNT ZRANGE ZREMRANGEBYRANK ASKING".split())
HELLO = b"*6\r\n+version\r\n+7.0.0\r\n+mode\r\n+%b\r\n+role\r\n+master\r\n"
SLOTS = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"


class Scene(NamedTuple):
    """What happens in one run.

    Attributes:
        cluster: the place is a cluster, of one node.
        ticks: for each turn of the loop in which charges are made: for each ask, how many, and whether all or none.
        replies: to script calls, in order; after the last they are right.
        cuts: sizes of the pieces in which bytes are sent.
        greeting: a word of the greeting, and what is said to it once; None: all is well.
    """

    cluster: bool
    ticks: list[list[tuple[int, bool]]]
    replies: list[tuple[str, Any]]
    cuts: list[int]
    greeting: tuple[bytes, bytes] | None


asks = st.tuples(st.sampled_from([1, 1, 2, 3, 130]), st.booleans())
scenes = st.builds(
    Scene,
    st.booleans(),
    st.lists(st.lists(asks, min_size=1, max_size=3), min_size=1, max_size=3),
    st.lists(any_reply, min_size=1, max_size=5),
    st.lists(st.integers(1, 40), max_size=3),
    mostly(st.none(), st.sampled_from(GREETINGS), 4),
)


class Server:
    """A server that greets as it should, and answers script calls as a scene says.

    Attributes:
        said: what it answered to script calls, for each connection.
    """

    def __init__(self, scene):
        self._scene = scene
        self._replies = iter(scene.replies)
        self._greeting = scene.greeting
        self._server: asyncio.Server | None = None
        self._serving: list[asyncio.Task[None]] = []
        self.said: list[bytearray] = []
        self.port = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        assert self._server is not None
        for _ in range(3):  # connections that wait in the backlog are accepted first, or they would leak
            await asyncio.sleep(0)
        self._server.close()
        await asyncio.gather(*self._serving)
        await asyncio.sleep(0)

    def _accept(self, reader, writer):
        self._serving.append(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader, writer):
        parser = hiredis.Reader(notEnoughData=None)
        said = bytearray()
        self.said.append(said)
        hung = False
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (words := parser.gets()) is not None:
                    hung = hung or writer.is_closing()
                    if not hung and not await self._answer(words, writer, said):
                        hung = True
                if writer.is_closing():
                    break
        writer.close()

    async def _answer(self, words, writer, said):
        """Answer one command; False: it was the last that is answered on this connection."""
        kind = words[0]
        if self._greeting is not None and kind == self._greeting[0]:
            writer.write(self._greeting[1].replace(b"%d", b"%d" % self.port))
            self._greeting = None
        elif kind in GREETED:
            writer.write(b"+OK\r\n")
        elif kind == b"HELLO":
            writer.write(HELLO % (b"cluster" if self._scene.cluster else b"standalone"))
        elif kind == b"CLUSTER":
            writer.write(SLOTS % self.port)
        elif words[2] == b"0":
            writer.write(b"*1\r\n:1\r\n")
        else:
            reply = next(self._replies, ("right", None))
            answer = written(reply, answers(words, own), b"127.0.0.1:%d" % self.port)
            said += answer
            await self._send(answer, writer)
            if reply[0] in CLOSES:
                writer.close()
            return reply[0] not in (*CLOSES, "silent")
        return True

    async def _send(self, answer, writer):
        at = 0
        for size in self._scene.cuts:
            if writer.is_closing():
                return
            writer.write(answer[at : at + size])
            at += size
            await asyncio.sleep(0)
        writer.write(answer[at:])


def own(key):
    """The number that only this key's answers carry; a probe's is of no key."""
    name = key.rstrip(b"_")
    return OWN + int(name) if name.isdigit() else 0


def made(scene):
    """The asks of a scene; each charge has a key of its own, and a limit that is the key's number."""
    number = 0
    ticks = []
    for tick in scene.ticks:
        asks = []
        for count, atomic in tick:
            charges = []
            for _ in range(count):
                number += 1
                rate = make_rate("token_bucket", OWN + number, HOUR)
                charges.append(Charge(Rule(Limit(rate, OWN + number)), b"%d_" % number))
            asks.append(Ask(Plan(tuple(charges)), [1] * count, atomic=atomic))
        ticks.append(asks)
    return ticks


def is_whole(said):
    """Whether the first parser takes all that was said."""
    for each in said:
        reader = hiredis.Reader(notEnoughData=None)
        reader.feed(bytes(each))
        try:
            while reader.gets() is not None:
                pass
        except hiredis.ProtocolError:
            return False
        if reader.has_data():
            return False
    return True


def check_outcomes(asks):
    """See that each charge has a fate, and no decision is another key's; returns the kinds of fate."""
    kinds = set()
    for ask in asks:
        for charge, outcome in zip(ask.plan.charges, ask.outcomes, strict=True):
            assert isinstance(outcome, Decision | Failure)
            kinds.add(type(outcome))
            if isinstance(outcome, Failure):
                outcome.message.encode()
            else:
                number = outcome.remaining
                assert number == own(charge.key) or not OWN <= number <= 2 * OWN, (charge.key, outcome)
    return kinds


async def play(scene):
    """Charge as the scene says; returns the kinds of fate, and whether the parser took all replies."""
    handed: list[Ask] = []
    finished = asyncio.Event()
    ticks = made(scene)
    every = [ask for tick in ticks for ask in tick]

    def done(group):
        handed.extend(group)
        if len(handed) >= len(every):
            finished.set()

    async with Server(scene) as server:
        kind = {"REDIS_TYPE": "cluster"} if scene.cluster else {}
        store: RedisStore = store_of(
            f"127.0.0.1:{server.port}", env=kind, budget=BUDGET, stale_after=BUDGET, retry_first=0.001, retry_most=0.01
        )
        try:
            await store.connect()
            for tick in ticks:
                store.charge(tick, NOW, done)
                await asyncio.sleep(0.001)
            async with asyncio.timeout(PATIENCE):
                await finished.wait()
        finally:
            await store.close()
        assert store.in_flight == 0
        said = server.said
    assert sorted(map(id, handed)) == sorted(map(id, every))
    failed = sum(isinstance(outcome, Failure) for ask in every for outcome in ask.outcomes)
    assert failed <= sum(store.failures.values())
    return check_outcomes(every), is_whole(said)


def test_any_reply_gives_each_ask_one_fate():
    """Whatever Redis says, each ask is handed on once, each charge decided or failed, and no answer is another key's.

    Nothing is raised into the event loop, and nothing stays in flight.
    """
    seen = Seen()
    raised: list[dict[str, Any]] = []

    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: raised.append(context))

        def check(scene):
            kinds, whole = runner.run(play(scene))
            assert raised == []
            seen.reached(*["parsed"] * whole, *(kind.__name__ for kind in kinds))

        fuzz(scenes, EXAMPLES, check)
        gc.collect()
        assert raised == []

    assert seen.share("parsed") >= LEAST_SHARE
    assert seen.share("Decision") >= LEAST_SHARE
    assert seen.share("Failure") >= LEAST_SHARE / 3
