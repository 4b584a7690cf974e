"""The messages of a stream: what is read of a response, and how it is compared with another one."""

import asyncio
import sys
from hashlib import sha256

import pytest

from ratelimitd.observe.loop import SWITCH
from ratelimitd.sources.pushed import TYPE
from ratelimitd.sources.xds import messages
from ratelimitd.sources.xds.messages import read_response
from testkit.control_plane import Response, config, response
from tests.turning import turning

ONE, OTHER = config("one"), config("other", {"key": "k"})


def digest(*resources, **fields):
    return read_response(response("1", list(resources), **fields).SerializeToString()).digest


def test_a_response_is_read_as_protobuf_reads_it():
    """Version and nonce, whatever fields are beside them: unknown ones, and those that are of no use here."""
    made = Response(version_info="v\u00e9", nonce="n", type_url=TYPE)
    made.resources.add(type_url=TYPE, value=b"x" * 300)
    unknown = b"\x18\x01\x32\x02\x0a\x00\x51" + bytes(8) + b"\x5d" + bytes(4) + b"\xa0\x06\xff\xff\xff\xff\x0f"
    body = unknown + made.SerializeToString() + unknown
    read = read_response(body)
    assert Response.FromString(body).version_info == read.version
    assert (read.version, read.nonce, read.body) == ("v\u00e9", "n", body)
    assert read.digest == read_response(made.SerializeToString()).digest
    assert read_response(b"").version == ""


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x0a\x05abc", id="a text that is longer than the message"),
        pytest.param(b"\x0a\xff", id="a length without an end"),
        pytest.param(b"\x18" + b"\x80" * 1_000 + b"\x01", id="a number of 7,000 bits"),
        pytest.param(b"\x51\x00", id="half a number"),
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x0a\x01\xff", id="no UTF-8"),
    ],
)
def test_what_is_no_response_is_told_as_that(body):
    """There is one text for all of it: the cause is the control plane's program, or another one that listens there."""
    with pytest.raises(ValueError, match="sent bytes that are no DiscoveryResponse"):
        read_response(body)


def test_responses_are_compared_by_their_resources():
    """In any order; another content, another number of them or another type is another policy."""
    assert digest(ONE, OTHER) == digest(OTHER, ONE, nonce="2")
    different = [digest(), digest(ONE), digest(OTHER), digest(ONE, ONE), digest(ONE, OTHER), digest(ONE, type_url="t")]
    assert len({*different}) == len(different)


@pytest.mark.scenario("the event loop is blocked")
async def test_the_loop_turns_while_a_large_response_is_read(monkeypatch):
    """From one resource to the next: they are looked at where they lie, and not made objects in one step."""
    body = response("1", [config(str(number)) for number in range(50_000)]).SerializeToString()
    seen = []

    def hashed(value):
        seen.append(turns.count)
        return sha256(value)

    monkeypatch.setattr(messages, "sha256", hashed)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        with turning() as turns:
            await asyncio.to_thread(read_response, body)
    finally:
        sys.setswitchinterval(before)
    assert len(seen) >= 50_000
    assert len({*seen}) > 5  # hundreds on a machine that does nothing else
