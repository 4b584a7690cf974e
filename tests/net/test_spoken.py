"""Which protocol a port speaks; the protocols themselves are asked in tests/app/test_check.py."""

import socket

import pytest

from ratelimitd.net.spoken import Spoken, recognized, spoken


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", Spoken.HTTP1),
        (b"HTTP/1.0 505 ", Spoken.HTTP1),
        (b"\x15\x03\x01\x00\x02\x02\x46", Spoken.TLS),
        (b"\x00\x00\x0c\x04\x00\x00\x00\x00\x00\x00\x03", Spoken.H2),
        (b"\x00\x00\x08\x07\x00\x00\x00\x00\x00", Spoken.UNKNOWN),
        (b"-ERR unknown command", Spoken.UNKNOWN),
        (b"", Spoken.UNKNOWN),
    ],
)
def test_an_answer_is_recognized(answer, found):
    """By its first bytes: a status line, an alert, SETTINGS."""
    assert recognized(answer) is found


def test_a_port_where_nothing_listens_speaks_nothing():
    """No error, whatever the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert spoken("127.0.0.1", port) is Spoken.UNKNOWN
