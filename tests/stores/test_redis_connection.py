"""The link under replies that no real Redis sends."""

import asyncio
import socket

import pytest

from ratelimitd.algorithms import Decision
from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.limiter.seam import FailureKind
from ratelimitd.stores.redis.connection import RedisConnectionError
from ratelimitd.stores.redis.opening import open_connection
from tests.contract.cases import charge
from tests.stores.conftest import PATIENCE
from tests.stores.test_redis_store import kinds, one

REPLY = b"*6\r\n:1\r\n:1\r\n:9\r\n:5\r\n:0\r\n:0\r\n"
"""now 1; allowed, 9 remaining, reset after 5 µs."""


@pytest.mark.parametrize(
    "said", [REPLY[:-4], b"what?\r\n", b"$-7\r\n", b"*2\r\n:1\r\n?\r\n"], ids=["half", "text", "size", "inside"]
)
async def test_half_a_reply_and_garbage(make, edges, fake, said):
    """A reply cut short or no reply at all ends the connection: every waiter fails, once."""

    def behave(_, writer):
        writer.write(said)
        writer.close()

    path = await fake.start(behave)
    store = make(path)
    await store.connect()
    first, second = await asyncio.gather(charge(store, [one() for _ in range(200)]), charge(store, [one()]))
    assert kinds([*first, *second]) == {FailureKind.DISCONNECTED}
    assert store.in_flight == 0
    assert edges.ups[:2] == [True, False]


async def test_a_reply_nobody_asked_for_ends_the_connection(make, edges, fake):
    """Replies that cannot be matched to a caller are not guessed at."""

    def behave(_, writer):
        writer.write(REPLY + REPLY)

    path = await fake.start(behave)
    store = make(path)
    await store.connect()
    (outcome,) = await charge(store, [one()])
    assert isinstance(outcome, Decision)
    await edges.until(True, False, True)
    assert "unsolicited reply" in edges.seen[1][1]


async def test_a_reply_in_pieces(make, fake):
    """A reply that comes byte by byte is one reply."""
    pieces: list[asyncio.Task[None]] = []

    async def slowly(writer):
        for at in range(len(REPLY)):
            writer.write(REPLY[at : at + 1])
            await asyncio.sleep(0)

    def behave(_, writer):
        pieces.append(asyncio.ensure_future(slowly(writer)))

    path = await fake.start(behave)
    store = make(path)
    await store.connect()
    assert await charge(store, [one()]) == [Decision(True, 9, 5, 0, 0)]


LONGER = REPLY.replace(b"*6", b"*7") + b"+x\r\n"
"""A text more than failures."""


@pytest.mark.parametrize("said", [b"+OK\r\n", b"*1\r\n:1\r\n", b"$-1\r\n"])
async def test_the_wrong_shape_of_a_reply(make, edges, fake, said):
    """A reply that is not the script's fails its call as PERMANENT; the connection is not trusted any more."""
    replies = iter([said, REPLY])

    def behave(_, writer):
        writer.write(next(replies))

    path = await fake.start(behave)
    store = make(path)
    await store.connect()
    assert kinds(await charge(store, [one()])) == {FailureKind.PERMANENT}
    assert store.in_flight == 0
    await edges.until(True, False, True)
    assert await charge(store, [one()]) == [Decision(True, 9, 5, 0, 0)]


async def test_a_reply_that_swallowed_the_next(make, edges, fake):
    """A reply that is too long may contain another call's: no further reply of this connection is used."""

    def behave(_, writer):
        writer.write(LONGER)

    path = await fake.start(behave)
    store = make(path)
    await store.connect()
    await charge(store, [one()])
    await edges.until(True, False, True)
    assert "unexpected reply to EVALSHA" in edges.seen[1][1]


@pytest.mark.parametrize("host", ["a\0b", "é" * 80, "a..b"])
async def test_an_address_that_is_none(host):
    """A cluster may name anything: where no socket can lead is an address that cannot be reached."""
    for address in (RedisAddress(host, 1), RedisAddress("127.0.0.1", 99_999)):
        with pytest.raises(RedisConnectionError, match="no connection to Redis at"):
            await open_connection(address, None, PATIENCE, lambda _: asyncio.sleep(0))


async def test_a_lost_script_is_not_sent_for_nobody(make, fake):
    """A call is sent again only after NOSCRIPT, and only while an ask waits for it."""
    on_read: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    def behave(words, writer):
        on_read.append(words[0])
        writers.append(writer)

    path = await fake.start(behave)
    store = make(path, pool_size=1)
    await store.connect()
    assert kinds(await charge(store, [one(budget=0.01)])) == {FailureKind.TIMEOUT}
    writers[0].write(b"-NOSCRIPT No matching script.\r\n")
    pending = asyncio.ensure_future(charge(store, [one()]))
    while len(on_read) < 2:
        await asyncio.sleep(0)
    writers[0].write(b"-NOSCRIPT No matching script.\r\n")
    while len(on_read) < 3:
        await asyncio.sleep(0)
    writers[0].write(REPLY)
    assert await pending == [Decision(True, 9, 5, 0, 0)]
    assert on_read == [b"EVALSHA", b"EVALSHA", b"EVALSHA"]
    assert store.script_reloads == 1


async def test_never_greeted(make, edges, tmp_path):
    """A server that accepts connections and never replies is abandoned after the connect timeout."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        store = make(str(tmp_path / "mute.sock"), connect_timeout=0.05)
        assert not await store.connect()
        assert "within 0.05 s" in edges.seen[0][1]
        assert kinds(await charge(store, [one()])) == {FailureKind.DISCONNECTED}


@pytest.mark.scenario("logs that fill up or contain secrets")
async def test_an_error_that_repeats_the_password(make, edges, fake):
    """What a server says about AUTH is passed on without the password in it."""

    def behave(words, writer):
        writer.write(b"-ERR unknown command 'AUTH', with args beginning with: '%b'\r\n" % words[1])

    assert not await make(await fake.start(behave), "canary").connect()
    assert "unknown command" in edges.seen[0][1]
    assert "canary" not in edges.seen[0][1]
