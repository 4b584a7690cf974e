#!/usr/bin/env python3
"""A sample app behind the proxy: it returns method and path of each request as JSON.

Its argument is the port: ``python examples/upstream.py 8081``. It needs nothing but Python.
"""

import contextlib
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EXPENSIVE_SECONDS = 0.03
"""Duration of a request to /api/expensive: long enough to notice, short enough to wait for."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Handler(BaseHTTPRequestHandler):
    """Answers every method alike."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    """Head and body leave in one write; in two, the second waits for the client's delayed acknowledgement."""

    def answer(self) -> None:
        """Return method and path; delay the expensive endpoint."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body is not read
        if self.path.partition("?")[0] == "/api/expensive":
            time.sleep(EXPENSIVE_SECONDS)
        body = json.dumps({"method": self.command, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the proxy logs each request."""


for method in METHODS:
    setattr(Handler, f"do_{method}", Handler.answer)


class Server(ThreadingHTTPServer):
    """Listens on one address of localhost; a burst of connections waits instead of being refused."""

    request_queue_size = 1024

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.address_family = family
        super().__init__(address, Handler)


def main(port: int) -> None:
    """Serve on all addresses of localhost until SIGINT or SIGTERM."""
    found = {(family, place[0]) for family, *_, place in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
    try:
        servers = [Server(family, (str(host), port)) for family, host in found]
    except OSError as error:
        sys.exit(f"cannot listen on localhost:{port}: {error.strerror}")
    first, *others = servers
    for each in others:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        first.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
