"""Replies that no honest Redis sends: they are refused before they cost anything."""

import asyncio

import hiredis
import pytest

from ratelimitd.algorithms import NEVER, Decision
from ratelimitd.limiter.seam import FailureKind
from ratelimitd.stores.redis.bounds import LINE_BYTES, LISTS, REPLY_BYTES, Bounds
from tests.contract.cases import charge
from tests.stores.conftest import PATIENCE
from tests.stores.test_redis_connection import REPLY
from tests.stores.test_redis_store import kinds, one

CHUNK = b"x" * 65_535 + b"\n"


@pytest.mark.parametrize("kind", [b"*", b">", b"~", b"|"])
@pytest.mark.parametrize("before", [b"", b"*2\r\n", b"*6\r\n:1\r\n:1\r\n:9\r\n:5\r\n:0\r\n:0\r\n", b"+OK\r\n" * 100])
@pytest.mark.parametrize("places", [b"2147483647", b"100000"])
def test_a_list_of_more_places_than_any_reply(kind, before, places):
    """hiredis makes a list as its first line comes: at 14 bytes, one of 16 GiB. Wherever it stands, it is not read."""
    said = before + kind + places + b"\r\n"
    assert "places" in Bounds().problem(said)
    for cut in range(len(before), len(said)):
        bounds = Bounds()
        assert any([bounds.problem(said[:cut]), bounds.problem(said[cut:])])
    bounds = Bounds()
    assert any(bounds.problem(said[at : at + 1]) for at in range(len(said)))


def test_lists_of_any_reply():
    """A script call, and a cluster of as many ranges as slots, are within the bounds."""
    assert not Bounds().problem(b"*641\r\n" + b":9007199254740991\r\n" * 641)
    ranges = (
        b"*16384\r\n"
        + b"*3\r\n:1\r\n:1\r\n*4\r\n$9\r\n127.0.0.1\r\n:65535\r\n$40\r\n%b\r\n*0\r\n" % (b"a" * 40) * 16_384
    )
    bounds = Bounds()
    assert not any(bounds.problem(ranges[at : at + 65_536]) for at in range(0, len(ranges), 65_536))


def test_many_small_lists():
    """A list of 4 bytes costs us 80: one reply has no more of them than the largest cluster's."""
    bounds = Bounds()
    lists = b"*0\r\n" * 16_384
    problems = [bounds.problem(lists) for _ in range(LISTS // 16_384 + 2)]
    assert [bool(problem) for problem in problems] == [False] * (len(problems) - 1) + [True]


def test_a_line_without_an_end():
    """hiredis searches an unended line from its begin after each read, so it is not read on."""
    bounds = Bounds()
    assert [bool(bounds.problem(b"+" + b"x" * 1023)) for _ in range(LINE_BYTES // 1024 + 1)][-2:] == [False, True]
    assert not Bounds().problem(b"+" + b"x" * LINE_BYTES + b"\r\n")


def test_a_reply_that_does_not_end():
    """What a reply may hold of memory is bounded; a reply that was read makes room for the next."""
    bounds = Bounds()
    most = REPLY_BYTES // len(CHUNK)
    assert [bool(bounds.problem(CHUNK)) for _ in range(most + 1)] == [False] * most + [True]
    bounds = Bounds()
    for _ in range(3 * most):
        assert not bounds.problem(CHUNK)
        bounds.whole()


async def test_a_text_of_half_a_gigabyte(make, edges, fake):
    """The connection is given up after a few megabytes, whatever the size that was announced."""
    sent = 0

    async def flood(writer):
        nonlocal sent
        writer.write(b"$536870912\r\n")
        while not writer.is_closing():
            writer.write(CHUNK)
            sent += len(CHUNK)
            await writer.drain()

    floods = []
    path = await fake.start(lambda _, writer: floods.append(asyncio.ensure_future(flood(writer))))
    store = make(path, pool_size=1)
    await store.connect()
    assert kinds(await charge(store, [one()])) == {FailureKind.DISCONNECTED}
    await asyncio.gather(*floods, return_exceptions=True)
    assert "out of bounds" in edges.seen[1][1]
    assert REPLY_BYTES <= sent < 16 * REPLY_BYTES


async def test_a_list_of_16_gib(make, edges, fake, monkeypatch):
    """hiredis never sees it; after the connection is closed, the next one serves."""
    replies = iter([REPLY[:10] + b"*2147483647\r\n", REPLY])
    path = await fake.start(lambda _, writer: writer.write(next(replies)))
    store = make(path)
    await store.connect()
    assert kinds(await charge(store, [one()])) == {FailureKind.DISCONNECTED}
    await edges.until(True, False, True)
    assert "places" in edges.seen[1][1]
    assert await charge(store, [one()]) == [Decision(True, 9, 5, 0, 0)]


def test_nested_lists():
    """Large lists count together however they are nested; small ones end at the 1,024 levels of hiredis."""
    assert "places" in Bounds().problem(b"*9999\r\n" * 7)
    assert not Bounds().problem(b"*999\r\n" * 1_025)
    reader = hiredis.Reader()
    reader.feed(b"*999\r\n" * 1_025)
    with pytest.raises(hiredis.ProtocolError, match="nesting"):
        reader.gets()


def told(*numbers, text=b""):
    """The reply to one charge."""
    return b"*%d\r\n" % (6 + bool(text)) + b"".join(b":%d\r\n" % number for number in numbers) + text


@pytest.mark.parametrize(
    "said",
    [
        told(-1, 1, 9, 5, 0, 0),
        told(1, 1, -5, 5, 0, 0),
        told(1, 1, -(10**18), 5, 0, 0),
        told(1, 1, 1 << 53, 5, 0, 0),
        told(1, 1, 9, NEVER, 0, 0),
        told(1, 1, 9, 5, NEVER - 1, 0),
        told(1, 1, 9, 5, 0, -1),
        told(1, -1, 9, 5, 0, 0),
        told(1, 2, 1, 0, 0, 0, text=b"+ERR x\r\n"),
        told(1, 2, 0, 0, 0, 0, text=b":7\r\n"),
        told(1, 2, 0, 0, 0, 0, text=b"*0\r\n"),
        b"*6\r\n:1\r\n:1\r\n,9.5\r\n:5\r\n:0\r\n:0\r\n",
        b"*6\r\n:1\r\n:1\r\n,nan\r\n:5\r\n:0\r\n:0\r\n",
        b"*6\r\n:1\r\n:1\r\n(99999999999999999999\r\n:5\r\n:0\r\n:0\r\n",
        b"*6\r\n:1\r\n:1\r\n_\r\n:5\r\n:0\r\n:0\r\n",
        b">6\r\n:1\r\n:1\r\n:9\r\n:5\r\n:0\r\n:0\r\n",
        b"%3\r\n:1\r\n:1\r\n:9\r\n:5\r\n:0\r\n:0\r\n",
    ],
)
async def test_numbers_that_the_script_cannot_have_sent(make, edges, fake, said, caplog):
    """Such a reply fails its call as PERMANENT, and the connection is not trusted any more; nothing is a traceback."""
    replies = iter([said, REPLY])
    path = await fake.start(lambda _, writer: writer.write(next(replies)))
    store = make(path)
    await store.connect()
    assert kinds(await charge(store, [one()])) == {FailureKind.PERMANENT}
    assert store.in_flight == 0
    await edges.until(True, False, True)
    assert await charge(store, [one()]) == [Decision(True, 9, 5, 0, 0)]
    assert caplog.text == ""


@pytest.mark.parametrize("largest", [0, (1 << 53) - 1])
async def test_the_least_and_the_largest_numbers(make, fake, largest):
    """A cost that can never pass is the only negative number; all below 2^53 are those of the script."""
    path = await fake.start(lambda _, writer: writer.write(told(largest, 0, largest, largest, NEVER, largest)))
    store = make(path)
    await store.connect()
    async with asyncio.timeout(PATIENCE):
        assert await charge(store, [one()]) == [Decision(False, largest, largest, NEVER, largest)]
