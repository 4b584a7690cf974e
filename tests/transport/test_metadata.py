"""Request headers of calls, which a server keeps if it is told to."""

import asyncio

import pytest

from tests.transport.servers import ECHO
from tests.transport.wire import Talk, message


@pytest.mark.parametrize("kept", [True, False])
async def test_a_server_keeps_headers_only_if_it_is_told_to(transport, kept):
    """All values of a name, in lower case, those of -bin decoded; otherwise none."""
    found = asyncio.get_running_loop().create_future()

    def look(calls):
        for call in calls:
            found.set_result(dict(call.metadata))
            call.respond(b"")

    metadata = (("traceparent", "a"), ("x-two", "1"), ("x-two", "2"), ("x-bytes-bin", b"\x00\xff"))
    async with transport.served(look, options=transport.options._replace(metadata=kept)) as (channel, _):
        await channel.unary_unary(ECHO)(b"", metadata=metadata)
    headers = await found
    assert [headers.get(name) for name, _ in metadata[1:]] == (
        [[b"1", b"2"], [b"1", b"2"], [b"\x00\xff"]] if kept else [None] * 3
    )
    assert bool(headers) is kept


@pytest.mark.parametrize("kept", [True, False])
def test_kept_headers_count_as_bytes_in_flight(kept):
    """A caller has no more memory by headers than by messages; what is answered is free again."""
    talk = Talk(serve=False, max_bodies=10_000, metadata=kept)

    def ask():
        talk.say(talk.caller.headers(("x-large", "x" * 1_500)) + talk.caller.data(message(b"")))

    for _ in range(20):
        ask()
    assert len(talk.calls) == (4 if kept else 20)
    for call in talk.calls:
        call.respond(b"")
    talk.calls.clear()
    ask()
    assert len(talk.calls) == 1
