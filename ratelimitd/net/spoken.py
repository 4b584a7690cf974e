"""Which protocol a port speaks, for messages about a client that speaks another."""

import socket
import ssl
from enum import StrEnum
from typing import Final

HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""HTTP/2's preface and empty SETTINGS (RFC 9113 3.4). An HTTP/1 server answers it with an error, a TLS server with an
alert."""

WAIT: Final = 1.0
"""Seconds to connect, and for the first byte of an answer."""


class Spoken(StrEnum):
    """What a port speaks."""

    H2 = "HTTP/2 in plain text"
    HTTP1 = "HTTP/1"
    TLS = "TLS"
    UNKNOWN = "another protocol, or none"


def spoken(host: str, port: int) -> Spoken:
    """Ask a port. Blocks for up to four seconds."""
    try:
        with socket.create_connection((host, port), WAIT) as connection:
            connection.sendall(HELLO)
            answer = connection.recv(16)
    except OSError:
        answer = b""
    if not answer and _shakes_hands(host, port):
        return Spoken.TLS
    return recognized(answer)


def recognized(answer: bytes) -> Spoken:
    """Return the protocol of the first bytes that a server sends after HELLO."""
    if answer.startswith(b"HTTP/1."):
        return Spoken.HTTP1
    if answer[:2] == b"\x15\x03":  # an alert of TLS (RFC 8446 5.1, 6)
        return Spoken.TLS
    if answer[3:4] == b"\x04" and answer[5:9] == bytes(4):  # SETTINGS on stream 0
        return Spoken.H2
    return Spoken.UNKNOWN


def _shakes_hands(host: str, port: int) -> bool:
    """Whether a port completes a TLS handshake, or ends one with an alert; some close without one after HELLO."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), WAIT) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
