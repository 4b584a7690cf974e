"""Valid prefaces, frames and HPACK, then broken: only that connection ends, memory stays flat, nothing is raised."""

import asyncio
import gc
import gzip
import random

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, PriorityFrame, SettingsFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimitd.transport import GrpcError
from tests.transport.servers import ECHO, STREAM
from tests.transport.wire import Caller, Talk, heap, message

pytestmark = pytest.mark.alone

EXAMPLES = 300

bodies = st.binary(max_size=64)
names = st.sampled_from(["x-a", "x-b-bin", "grpc-timeout", "grpc-encoding"])
packed = st.builds(lambda body, level: gzip.compress(body * 1000, level), bodies, st.integers(0, 9))
any_header = st.tuples(names, st.text("azAZ09=%- ", max_size=12))


def whole_call(draw, caller):
    return caller.call(draw(bodies))


def odd_call(draw, caller):
    path = draw(st.sampled_from([ECHO, STREAM, "/nowhere"]))
    head = caller.headers(*draw(st.lists(any_header, max_size=3)), path=path, end=draw(st.booleans()))
    messages = draw(st.lists(bodies, max_size=2))
    return head + b"".join(caller.data(message(body), end=draw(st.booleans())) for body in messages)


def packed_call(draw, caller):
    encoding = draw(st.sampled_from(["gzip", "gzip", "deflate", "identity", "br"]))
    payloads = draw(
        st.lists(st.tuples(st.one_of(packed, bodies), st.sampled_from([0, 1, 1, 1, 2])), min_size=1, max_size=3)
    )
    head = caller.headers(("grpc-encoding", encoding), path=draw(st.sampled_from([ECHO, STREAM])))
    return head + caller.data(b"".join(message(body, flag) for body, flag in payloads))


def cut_headers(draw, caller):
    frame = caller.headers(*draw(st.lists(any_header, max_size=3)))
    block = frame[9:]
    at = draw(st.integers(0, len(block)))
    return (
        HeadersFrame(caller.last, block[:at]).serialize()
        + ContinuationFrame(caller.last, block[at:], flags=["END_HEADERS"]).serialize()
    )


def some_stream(draw, caller):
    return draw(st.integers(1, max(2, caller.last + 2)))


def reset(draw, caller):
    return caller.reset(some_stream(draw, caller), draw(st.integers(0, 13)))


def window(draw, caller):
    return caller.window(draw(st.integers(1, 2**31 - 1)), draw(st.sampled_from([0, max(1, caller.last)])))


def data(draw, caller):
    flags = draw(st.sampled_from([[], ["END_STREAM"]]))
    return DataFrame(some_stream(draw, caller), draw(bodies), flags=flags).serialize()


def ping(draw, caller):
    return PingFrame(0, draw(st.binary(min_size=8, max_size=8)), flags=draw(st.sampled_from([[], ["ACK"]]))).serialize()


def change(draw, caller):
    return SettingsFrame(0, draw(st.dictionaries(st.integers(1, 9), st.integers(0, 2**31 - 1), max_size=3))).serialize()


def priority(draw, caller):
    return PriorityFrame(some_stream(draw, caller), depends_on=0, stream_weight=draw(st.integers(1, 255))).serialize()


ACTS = [
    whole_call,
    whole_call,
    whole_call,
    odd_call,
    packed_call,
    cut_headers,
    reset,
    window,
    data,
    ping,
    change,
    priority,
]


@st.composite
def conversations(draw):
    """(settings, reads): what a caller says, cut into reads, then with a few bytes changed, dropped or doubled."""
    caller = Caller()
    acts = draw(st.lists(st.sampled_from(ACTS), min_size=4, max_size=20))
    said = bytearray(b"".join(act(draw, caller) for act in (whole_call, *acts)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(said) - 1)))
        kind = draw(st.sampled_from(["flip", "drop", "double"]))
        if kind == "flip" and said:
            said[at] ^= draw(st.integers(1, 255))
        elif kind == "drop":
            del said[at : at + draw(st.integers(1, 20))]
        else:
            said[at:at] = said[at : at + draw(st.integers(1, 20))]
    cuts = sorted(draw(st.lists(st.integers(0, len(said)), max_size=5)))
    return [bytes(said[a:b]) for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]


def serve_call(call, chance):
    """Answer, fail or leave it."""
    assert call.deadline >= 0
    assert isinstance(call.metadata, dict)
    fate = chance.randrange(4)
    if fate < 2:
        call.respond(call.body * 50)
    elif fate == 2:
        call.fail(13, "ünlucky")


def serve_stream(stream, chance):
    """Echo what there is, and end it or not."""
    try:
        while (body := stream.take()) is not None:
            stream.send(body)
    except GrpcError as error:
        stream.finish(error.status, error.message)
    if chance.random() < 0.5:
        stream.finish(0, "")


def converse(reads, seed):
    """Say it all to a session whose handlers do anything; returns whether a call was reached."""
    chance = random.Random(seed)
    talk = Talk(serve=False, max_connection_buffered=1 << 16, max_unsent=1 << 16, wasted_frames=200, metadata=True)
    talk.caller.read = lambda out: None  # what comes back may be for a broken caller
    for read in reads:
        talk.now += chance.randrange(100_000)
        talk.say(read)
        for call in talk.calls:
            serve_call(call, chance)
        for stream in talk.streams:
            serve_stream(stream, chance)
        if chance.random() < 0.1:
            talk.now += 20_000_000
            talk.session.end_late(talk.now)
        if chance.random() < 0.1:
            talk.session.shutdown_notice()
            talk.session.goaway()
        talk.session.take_notified()
        talk.hear()
    if chance.random() < 0.5:
        talk.session.close()
    reached = bool(talk.calls or talk.streams)
    call = stream = None
    talk.calls.clear()
    talk.streams.clear()
    assert talk.server.calls == 0
    talk.session.close()
    assert talk.session.buffered == 0
    return reached


@pytest.mark.slow
def test_broken_conversations_end_nothing_but_themselves():
    """Nothing is raised, no call is left counted, at least half of the runs reach a call, and no memory is kept."""
    reached = []

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(conversations(), st.integers(0, 2**32))
    def run(reads, seed):
        reached.append(converse(reads, seed))
        kept.append((reads, seed))

    kept = []
    run()
    assert sum(reached) >= len(reached) / 2
    for each in kept:
        converse(*each)
    gc.collect()
    before = heap()
    for each in kept:
        converse(*each)
    gc.collect()
    assert heap() - before < 200_000


async def test_a_broken_conversation_disturbs_no_other_connection(fast):
    """Real sockets: random bytes after a valid start, and another connection that goes on being served."""
    chance = random.Random(7)
    async with fast.served() as (channel, server):
        host, _, port = server.address.rpartition(":")
        for _ in range(40):
            _, writer = await asyncio.open_connection(host, int(port))
            caller = Caller()
            writer.write(caller.start() + caller.call() + chance.randbytes(200))
            assert await channel.unary_unary(ECHO)(b"x") == b"x"
            writer.transport.abort()
        assert await channel.unary_unary(ECHO)(b"x") == b"x"
