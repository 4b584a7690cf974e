"""The table of docs/http-framing.md: what httptools, h11 and we make of the same bytes.

``python -m tests.http1.framing_table`` prints it.
"""

import h11
import httptools

from ratelimitd.http1.bodies import BodyError, request_body
from ratelimitd.http1.heads import after_empty_line, read_request, read_response
from ratelimitd.http1.model import ErrorResponse

H = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
REQUESTS = {
    "a plain GET": b"GET / HTTP/1.1\r\n" + H + b"\r\n",
    "a body in chunks": CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    "a chunk extension of up to 256 bytes": CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n",
    "Content-Length with Transfer-Encoding": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Content-Length twice, differing": POST + b"Content-Length: 0\r\nContent-Length: 1\r\n\r\na",
    "Content-Length twice, equal": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "Content-Length: 1, 1": POST + b"Content-Length: 1, 1\r\n\r\na",
    "Content-Length: +1": POST + b"Content-Length: +1\r\n\r\na",
    "Content-Length: 01": POST + b"Content-Length: 01\r\n\r\na",
    "Transfer-Encoding on HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: gzip": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "Transfer-Encoding twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": POST + b"Content-Length : 1\r\n\r\na",
    "a folded header line": b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n",
    "LF for CRLF in the head": b"GET / HTTP/1.1\nHost: a\n\n",
    "LF for CRLF after one header": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "CR alone in a value": b"GET / HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n",
    "another control byte in a value": b"GET / HTTP/1.1\r\n" + H + b"X: a\x01b\r\n\r\n",
    "a byte above 127 in a value": b"GET / HTTP/1.1\r\n" + H + b"X: \xe9\r\n\r\n",
    "a byte above 127 in a name": b"GET / HTTP/1.1\r\n" + H + b"\xe9: a\r\n\r\n",
    "no Host on HTTP/1.1": b"GET / HTTP/1.1\r\n\r\n",
    "no Host on HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "Host twice": b"GET / HTTP/1.1\r\n" + H + H + b"\r\n",
    "Authorization twice": b"GET / HTTP/1.1\r\n" + H + b"Authorization: b\r\nauthorization: c\r\n\r\n",
    "Content-Type twice": POST + b"Content-Type: b\r\nContent-Type: b\r\nContent-Length: 0\r\n\r\n",
    "Accept twice": b"GET / HTTP/1.1\r\n" + H + b"Accept: b\r\nAccept: c\r\n\r\n",
    "Host: a/b": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host: user@a": b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + H + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + H + b"\r\n",
    "two blanks in the request line": b"GET  / HTTP/1.1\r\n" + H + b"\r\n",
    "an empty line before the request": b"\r\nGET / HTTP/1.1\r\n" + H + b"\r\n",
    "a method nobody registered": b"BREW / HTTP/1.1\r\n" + H + b"\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\n" + H + b"\r\n",
    "an absolute target": b"GET http://b/ HTTP/1.1\r\n" + H + b"\r\n",
    "an absolute target with a user": b"GET http://u@b/ HTTP/1.1\r\n" + H + b"\r\n",
    "a target of another scheme": b"GET ftp://b/ HTTP/1.1\r\n" + H + b"\r\n",
    "a target without a slash": b"GET b HTTP/1.1\r\n" + H + b"\r\n",
    "a fragment in the target": b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n",
    "a byte above 127 in the target": b"GET /\xe9 HTTP/1.1\r\n" + H + b"\r\n",
    "GET *": b"GET * HTTP/1.1\r\n" + H + b"\r\n",
    "Expect: something else": POST + b"Content-Length: 1\r\nExpect: tea\r\n\r\na",
    "LF after a chunk size": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "LF after chunk data": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "a blank before a chunk size": CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n",
    "a blank after a chunk size": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "a chunk size of 0x3": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "LF in a chunk extension": CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "a chunk extension of 300 bytes": CHUNKED + b"3;" + b"a" * 300 + b"\r\nabc\r\n0\r\n\r\n",
    "a folded trailer": CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n",
}
RESPONSES = {
    "a plain response": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
    "Content-Length with Transfer-Encoding": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Content-Length twice, differing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\na",
    "Content-Length twice, equal": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "Transfer-Encoding: gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding on HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "LF for CRLF in the head": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two blanks after the version": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
}


class _Sink:
    def __init__(self):
        self.done = False

    def on_message_complete(self):
        self.done = True


def _httptools(kind, data):
    sink = _Sink()
    try:
        kind(sink).feed_data(data)
    except httptools.HttpParserUpgrade:
        return "takes"
    except httptools.HttpParserError:
        return "refuses"
    return "takes" if sink.done else "waits"


def _h11(connection, data):
    connection.receive_data(data)
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return "waits"
    except h11.RemoteProtocolError:
        return "refuses"
    return "takes"


def _asked():
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"a")]))
    connection.send(h11.EndOfMessage())
    return connection


def ours(data):
    """What becomes of a request here: a status, or ``takes``."""
    data = after_empty_line(bytearray(), data) or data
    end = data.find(b"\r\n\r\n") + 4
    read = read_request(data[:end] if end >= 4 else data)
    if isinstance(read, ErrorResponse):
        return str(read.status)
    body = request_body(read.length)
    try:
        body.feed(data[end:])
    except BodyError:
        return "400"
    return "takes"


def our_response(data):
    """What becomes of a response here."""
    end = data.find(b"\r\n\r\n") + 4
    read = read_response(b"GET", data[:end] if end >= 4 else data)
    return "502" if isinstance(read, ErrorResponse) else "takes"


def table():
    """Both tables, in Markdown."""
    request, response = httptools.HttpRequestParser, httptools.HttpResponseParser
    lines = ["| request | httptools | h11 | here |", "|---|---|---|---|"]
    for name, data in REQUESTS.items():
        theirs = _httptools(request, data), _h11(h11.Connection(h11.SERVER), data)
        lines.append(f"| {name} | {theirs[0]} | {theirs[1]} | {ours(data)} |")
    lines += ["", "| response | httptools | h11 | here |", "|---|---|---|---|"]
    for name, data in RESPONSES.items():
        theirs = _httptools(response, data), _h11(_asked(), data)
        lines.append(f"| {name} | {theirs[0]} | {theirs[1]} | {our_response(data)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
