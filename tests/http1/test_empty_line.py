"""An empty line between requests: RFC 9112 2.2 says that a server SHOULD ignore at least one."""

import pytest

from ratelimitd.http1 import ServerOptions
from tests.http1.fakes import Gateway
from tests.http1.rig import endpoint, get, post

TWO = post(b"body") + b"\r\n" + get(b"/next")


@pytest.mark.parametrize("cut", range(len(post(b"body")) - 1, len(post(b"body")) + 4))
def test_an_empty_line_between_requests_is_read_over(cut):
    """Wherever a read ends: clients of old send one after a body."""
    gateway = Gateway()
    gateway.feed(TWO[:cut])
    assert [asked[1] for asked in gateway.feed(TWO[cut:])] == [b"/", b"/next"]


def test_each_request_may_have_one_before_it():
    """Also the first of a connection, and the last of a long pipeline."""
    assert len(Gateway().feed((b"\r\n" + get()) * 100)) == 100


@pytest.mark.parametrize("line", [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b" \r\n", b"\r\n\r\n", b"\r\n\n", b"\r\n \r\n"])
@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_nothing_else_before_a_request_is_read_over(line, byte_by_byte):
    """Neither LF or CR alone, nor a second line."""
    gateway = Gateway()
    data = get() + line + get(b"/next")
    for piece in [data[at : at + 1] for at in range(len(data))] if byte_by_byte else [data]:
        gateway.feed(piece)
    assert len(gateway.asked) == 1
    assert "LINGER" in repr(gateway.connection)


@pytest.mark.parametrize("options", [{"head_timeout": 0.05}, {"idle_timeout": 0.05}])
async def test_a_client_that_sends_empty_lines_alone_is_not_kept(rigs, upstream, options):
    """One extends no time, and is no head that is late; the connection is closed without a word."""
    rig = await rigs(
        endpoint(upstream),
        server=ServerOptions(**options),
        handler=lambda _, exchange: exchange.respond(200, [], b"ok"),
    )
    client = await rig.client()
    if "idle_timeout" in options:
        await client.ask(get())
    await client.send(b"\r\n")
    assert await client.rest() == b""
    assert rig.refusals == []
